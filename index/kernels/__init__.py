"""The native kernels: which instruction-set units this machine can run, and the one that is in use.

The build holds one unit for each instruction set of its architecture (kernels.hpp says what they compute and how
exactly). The best that the processor supports is chosen when this module is imported; `PERWATT_ISA` names another, for
a measurement or to rule a unit out. A name that is unknown or cannot run here is refused at once: falling back in
silence would make every figure measured afterwards a figure of something else.
"""

import os
import platform

from index.errors import KernelError
from index.kernels import _native

ENVIRONMENT_VARIABLE = "PERWATT_ISA"


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
    if wanted and not _native.use(wanted):
        built = [name for name, _ in _native.units()]
        why = "cannot run on this processor" if wanted in built else "is not a unit of this build"
        raise KernelError(
            f"{ENVIRONMENT_VARIABLE}={wanted!r} {why}; this machine can run "
            f"{', '.join(units())}. Unset it to take the best of them."
        )


_choose()
