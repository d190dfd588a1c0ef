"""The native encoder's kernels: which instruction-set units this machine can run, and the one that is in use.

The build holds one unit for each instruction set of its architecture (bert.hpp has their numeric contract). The best
that the processor supports is taken; `PERWATT_ISA` names another. The search kernels obey the same variable and have
other units, so it is read as a rung of one ladder (native/cpu.cpp): this package takes its best unit that is not above
the rung. A name that is on no rung, or a unit of ours that cannot run here, is refused.

`PERWATT_HIDE_ISA` hides features of the processor. It is meant for tests alone.
"""

import os
import platform
from typing import NamedTuple

from embed.errors import EmbedError
from embed.kernels import _native

ENVIRONMENT_VARIABLE = "PERWATT_ISA"


class EncoderKernelError(EmbedError):
    """The unit that was asked for cannot be used."""


class Packing(NamedTuple):
    """How a unit's int8 weights lie: panels of `panel` channels, `group` inputs of a channel side by side.

    Where they are `ordered`, each panel has an order of its own, which is another tensor; `_native.ordered` makes both.
    """

    panel: int
    group: int
    ordered: bool


def packing(unit: str) -> Packing:
    """Of any unit of this build: an image is packed for processors other than the one it is made on."""
    return Packing(*_native.packing(unit))


def units() -> list[str]:
    """Names of the units that this processor can run, best first; "scalar" is always the last."""
    return [name for name, supported in _native.units() if supported]


def built() -> list[str]:
    """Names of the units in this build, best first."""
    return [name for name, _ in _native.units()]


def unit_in_use() -> str:
    """The unit a new encoder runs on. Raises EncoderKernelError when PERWATT_ISA names none that can run here."""
    try:
        return _native.choose(os.environ.get(ENVIRONMENT_VARIABLE, ""))
    except ValueError as error:
        raise EncoderKernelError(str(error)) from None


def info() -> dict[str, object]:
    """What the encoder runs on: {"arch", "isa" (the unit in use), "units" (those that could be), "built", "hidden" (the
    words of PERWATT_HIDE_ISA)}."""
    return {
        "arch": platform.machine(),
        "isa": unit_in_use(),
        "units": units(),
        "built": built(),
        "hidden": _native.hidden(),
    }
