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


@pytest.fixture(scope="module")
def by_clang(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Of each architecture, the folder that clang built into."""
    folders = {}
    for machine in ("x86_64", "aarch64"):
        folders[machine] = build = tmp_path_factory.mktemp(machine)
        target = [f"-DCMAKE_CXX_COMPILER_TARGET={machine}-linux-gnu", "-DCMAKE_SYSTEM_NAME=Linux"]
        target += [f"-DCMAKE_SYSTEM_PROCESSOR={machine}", "-DCMAKE_CXX_COMPILER=clang++", "-DPERWATT_PYTHON=OFF"]
        for command in (
            ["cmake", "-S", NATIVE, "-B", build, *target],
            ["cmake", "--build", build, "-j", "2", "-t", *(program for program, _, _ in PACKAGES.values())],
        ):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stdout + done.stderr
    return folders


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("package", PACKAGES)
@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_no_loop_that_clang_makes_keeps_its_sums_in_memory(
    by_clang: dict[str, Path], machine: str, package: str
) -> None:
    program, namespace, _ = PACKAGES[package]
    objdump = "objdump" if machine == platform.machine() else OBJDUMP
    for unit in units(package, machine):
        assert loops.complaints(by_clang[machine] / package / program, namespace, unit, objdump) == [], unit


@pytest.mark.parametrize("package", PACKAGES)
def test_no_loop_of_gcc_for_arm64_keeps_its_sums_in_memory(package: str) -> None:
    (library,) = (BUILT / "kernels" / package).glob("_native.*.so")
    for unit in units(package, "aarch64"):
        assert loops.complaints(library, PACKAGES[package][1], unit, OBJDUMP) == [], unit
