"""The encoder's arm64 units on a machine that is not one: cross-compiled, run under an emulator, looked into.

On arm64 itself test_embed_native.py and test_embed_native_kernels.py do all of this natively.
"""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from test_embed_native_kernels import check_instructions, disassembly

KERNELS = Path(__file__).parents[1] / "embed" / "kernels"
COMPILER, OBJDUMP = "aarch64-linux-gnu-g++", "aarch64-linux-gnu-objdump"
TOOLS = (COMPILER, OBJDUMP, "qemu-aarch64-static", "cmake")

pytestmark = pytest.mark.skipif(
    platform.machine() == "aarch64" or not all(shutil.which(tool) for tool in TOOLS),
    reason="needs g++-aarch64-linux-gnu and qemu-user-static on another architecture; arm64 has native tests",
)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """embed/kernels/check.cpp for arm64, with the flags of CMakeLists.txt."""
    build = tmp_path_factory.mktemp("arm64")
    configure = [
        "cmake", "-S", KERNELS, "-B", build, "-DCMAKE_SYSTEM_NAME=Linux", "-DCMAKE_SYSTEM_PROCESSOR=aarch64",
        f"-DCMAKE_CXX_COMPILER={COMPILER}", "-DCMAKE_EXE_LINKER_FLAGS=-static", "-DPERWATT_PYTHON=OFF",
    ]  # fmt: skip
    for command in (configure, ["cmake", "--build", build, "-t", "encoder_check", "-j", "2"]):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    return build / "encoder_check"


@pytest.mark.parametrize(
    ("processor", "units"),
    [
        ("cortex-a72", ["neon", "scalar"]),
        ("neoverse-n1", ["neondot", "neon", "scalar"]),
        ("max", ["i8mm", "neondot", "neon", "scalar"]),
    ],
)
def test_units_agree_and_only_those_run_that_the_processor_has(program: Path, processor: str, units: list[str]) -> None:
    done = subprocess.run(
        ["qemu-aarch64-static", "-cpu", processor, program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.findall(r"(\w+): \d+ cases", done.stdout) == units


@pytest.mark.parametrize("unit", ["i8mm", "neondot", "neon", "scalar"])
def test_units_hold_their_instructions(program: Path, unit: str) -> None:
    check_instructions(disassembly(program, OBJDUMP)[unit], "aarch64", unit)
