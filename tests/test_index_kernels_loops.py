"""The loops of every unit as clang compiles them, which builds the wheels of macOS, and as GCC does for arm64: no sum
lies in memory. What GCC makes for this machine, test_index_kernels.py and test_embed_native_kernels.py look into.
"""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path

import loops
import pytest
from emulation import BUILT, OBJDUMP
from instructions import ENCODER_INSTRUCTIONS, INDEX_INSTRUCTIONS

NATIVE = Path(__file__).parents[1] / "native"
PACKAGES = {
    "index": ("kernels_check", "perwatt", INDEX_INSTRUCTIONS),
    "embed": ("encoder_check", "perwatt::bert", ENCODER_INSTRUCTIONS),
}

# Run by `make test-arm64`, which installs the compilers.
pytestmark = pytest.mark.arm64


def units(package: str, machine: str) -> list[str]:
    return [unit for unit in PACKAGES[package][2][machine] if unit != "scalar"]


def by_clang(build: Path, machine: str, package: str) -> Path:
    """The folder of the objects that clang makes of the package's units, for that architecture."""
    target = [f"-DCMAKE_CXX_COMPILER_TARGET={machine}-linux-gnu", "-DCMAKE_SYSTEM_NAME=Linux"]
    target += [f"-DCMAKE_SYSTEM_PROCESSOR={machine}", "-DCMAKE_CXX_COMPILER=clang++", "-DPERWATT_PYTHON=OFF"]
    objects = [f"{unit}.o" for unit in units(package, machine)]
    for command in (
        ["cmake", "-G", "Unix Makefiles", "-S", NATIVE, "-B", build, *target],
        ["make", "-j", "2", "-C", build / package, *objects],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    return build / package / "CMakeFiles" / f"{PACKAGES[package][0]}.dir"


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("package", PACKAGES)
@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_no_loop_of_clang_keeps_its_sums_in_memory(tmp_path: Path, machine: str, package: str) -> None:
    objdump = "objdump" if machine == platform.machine() else OBJDUMP
    folder = by_clang(tmp_path, machine, package)
    for unit in units(package, machine):
        assert loops.complaints(folder / f"{unit}.cpp.o", PACKAGES[package][1], unit, objdump) == [], unit


@pytest.mark.parametrize("package", PACKAGES)
def test_no_loop_of_gcc_for_arm64_keeps_its_sums_in_memory(package: str) -> None:
    (library,) = (BUILT / "kernels" / package).glob("_native.*.so")
    for unit in units(package, "aarch64"):
        assert loops.complaints(library, PACKAGES[package][1], unit, OBJDUMP) == [], unit
