"""The native kernels: which instruction-set units this machine can run, and the one that is in use.

The build holds one unit for each instruction set of its architecture (kernels.hpp says what they compute and how
exactly): avx512amx (many int8 queries at once in tiles), avx512vnni, avx512 and avx2; sve256 (float32 in SVE registers
of 256 bits, the rest i8mm's), i8mm (several int8 queries at once), neondot and neon; and scalar. The best that the
processor supports is chosen when this module is imported; `PERWATT_ISA` names another, for a measurement or to rule a
unit out. The encoder obeys the same variable and has other units (avx2vnni, no sve256), so a name is a rung of one
ladder: the best unit of ours that is not above it runs. A name on no rung, or a unit of ours that cannot run here, is
refused at once: falling back in silence would make every figure measured afterwards a figure of something else.

native/cpu.cpp has the ladder, what each rung needs, and `PERWATT_HIDE_ISA`, which hides features of the processor from
both modules. It is meant for tests alone, which are to pass on processors that nobody here has; `perwatt info` tells.
"""

import os
import platform

from index.errors import KernelError
from index.kernels import _native

ENVIRONMENT_VARIABLE = "PERWATT_ISA"


def units() -> list[str]:
    """Names of the units that this processor can run, best first; "scalar" is always the last."""
    return [name for name, supported in _native.units() if supported]


def hidden() -> list[str]:
    """The words of PERWATT_HIDE_ISA, which hide features of the processor in a test."""
    return _native.hidden()


def info() -> dict[str, object]:
    """What the kernels run on: {"arch", "isa" (the unit in use), "units" (those that could be), "built", "hidden"}."""
    return {
        "arch": platform.machine(),
        "isa": _native.active(),
        "units": units(),
        "built": [name for name, _ in _native.units()],
        "hidden": hidden(),
    }


def _choose() -> None:
    try:
        _native.use(_native.choose(os.environ.get(ENVIRONMENT_VARIABLE, "")))
    except ValueError as error:
        raise KernelError(str(error)) from None


_choose()
