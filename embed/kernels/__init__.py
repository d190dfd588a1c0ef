"""The native encoder's kernels: which instruction-set units this machine can run, and the one that is in use.

The build holds one unit for each instruction set of its architecture (bert.hpp has their numeric contract). The best
that the processor supports is taken; `PERWATT_ISA` names another. The search kernels obey the same variable and have
other units, so it is read as a rung of one ladder: this package takes its best unit that is not above the rung. A name
that is on no rung, or a unit of ours that cannot run here, is refused.
"""

import os
import platform

from embed.errors import EmbedError
from embed.kernels import _native

ENVIRONMENT_VARIABLE = "PERWATT_ISA"

# Every instruction set that a unit of this project is named for, each row from the plainest to the widest.
LADDERS = (
    ("scalar", "avx2", "avx2vnni", "avx512", "avx512vnni", "avx512amx"),
    ("scalar", "neon", "neondot", "i8mm", "sve256"),
)


class KernelError(EmbedError):
    """The unit that was asked for cannot be used."""


def units() -> list[str]:
    """Names of the units that this processor can run, best first; "scalar" is always the last."""
    return [name for name, supported in _native.units() if supported]


def built() -> list[str]:
    """Names of the units in this build, best first."""
    return [name for name, _ in _native.units()]


def unit_in_use() -> str:
    """The unit a new encoder runs on. Raises KernelError when PERWATT_ISA names none that can run here."""
    wanted = os.environ.get(ENVIRONMENT_VARIABLE, "")
    if not wanted:
        return units()[0]
    ladder = next((rungs for rungs in LADDERS if wanted in rungs and built()[0] in rungs), None)
    if ladder is None or (wanted in built() and wanted not in units()):
        why = "is not a unit of this build" if ladder is None else "cannot run on this processor"
        raise KernelError(
            f"{ENVIRONMENT_VARIABLE}={wanted!r} {why}; this machine can run "
            f"{', '.join(units())}. Unset it to take the best of them."
        )
    reach = ladder.index(wanted)
    return next(name for name in units() if ladder.index(name) <= reach)


def info() -> dict[str, object]:
    """What the encoder runs on: {"arch", "isa" (the unit in use), "units" (those that could be), "built"}."""
    return {"arch": platform.machine(), "isa": unit_in_use(), "units": units(), "built": built()}
