"""The native kernels: which instruction-set units this machine can run, and the one that is in use.

The build holds one unit for each instruction set of its architecture (kernels.hpp says what they compute and how
exactly): avx512amx (many int8 queries at once in tiles), avx512vnni, avx512 and avx2; sve256 (float32 in SVE registers
of 256 bits, the rest i8mm's), i8mm (several int8 queries at once), neondot and neon; and scalar. The best that the
processor supports is chosen when this module is imported; `PERWATT_ISA` names another, for a measurement or to rule a
unit out. The encoder obeys the same variable and has other units (avx2vnni, no sve256), so a name is a rung of one
ladder: the best unit of ours that is not above it runs. A name on no rung, or a unit of ours that cannot run here, is
refused at once: falling back in silence would make every figure measured afterwards a figure of something else.
"""

import os
import platform

from index.errors import KernelError
from index.kernels import _native

ENVIRONMENT_VARIABLE = "PERWATT_ISA"

# Every instruction set that a unit of this project is named for, each row from the plainest to the widest.
LADDERS = (
    ("scalar", "avx2", "avx2vnni", "avx512", "avx512vnni", "avx512amx"),
    ("scalar", "neon", "neondot", "i8mm", "sve256"),
)


def units() -> list[str]:
    """Names of the units that this processor can run, best first; "scalar" is always the last."""
    return [name for name, supported in _native.units() if supported]


def info() -> dict[str, object]:
    """What the kernels run on: {"arch", "isa" (the unit in use), "units" (those that could be), "built"}."""
    return {
        "arch": platform.machine(),
        "isa": _native.active(),
        "units": units(),
        "built": [name for name, _ in _native.units()],
    }


def _choose() -> None:
    wanted = os.environ.get(ENVIRONMENT_VARIABLE, "")
    if not wanted:
        return
    built, able = [name for name, _ in _native.units()], units()
    ladder = next((rungs for rungs in LADDERS if wanted in rungs and built[0] in rungs), None)
    if ladder is None or (wanted in built and wanted not in able):
        why = "is not a unit of this build" if ladder is None else "cannot run on this processor"
        raise KernelError(
            f"{ENVIRONMENT_VARIABLE}={wanted!r} {why}; this machine can run {', '.join(able)}. "
            "Unset it to take the best of them."
        )
    reach = ladder.index(wanted)
    _native.use(next(name for name in able if ladder.index(name) <= reach))


_choose()
