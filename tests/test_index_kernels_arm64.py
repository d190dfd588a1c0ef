"""The arm64 units on a machine that is not one: cross-compiled, run under an emulator, looked into.

On arm64 itself test_index_kernels.py does all of this natively, and this file has nothing to add.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

KERNELS = Path(__file__).parents[1] / "index" / "kernels"
COMPILER, OBJDUMP = "aarch64-linux-gnu-g++", "aarch64-linux-gnu-objdump"

# Run by `make test-arm64`, which installs the compiler and the emulator.
pytestmark = pytest.mark.arm64


def built(build: Path, *settings: str) -> Path:
    """index/kernels/check.cpp with the flags of CMakeLists.txt."""
    configure = ["cmake", "-S", KERNELS, "-B", build, "-DPERWATT_PYTHON=OFF", *settings]
    for command in (configure, ["cmake", "--build", build, "-t", "kernels_check", "-j", "2"]):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    return build / "kernels_check"


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(
        tmp_path_factory.mktemp("arm64"), "-DCMAKE_SYSTEM_NAME=Linux", "-DCMAKE_SYSTEM_PROCESSOR=aarch64",
        f"-DCMAKE_CXX_COMPILER={COMPILER}", "-DCMAKE_EXE_LINKER_FLAGS=-static",
    )  # fmt: skip


@pytest.fixture(scope="module")
def native(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What the same program prints on this machine."""
    done = subprocess.run([built(tmp_path_factory.mktemp("native"))], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def fingerprint(output: str) -> str:
    """Of every graph's bytes and every walk's answers: the same on both architectures."""
    return re.findall(r"fingerprint (\w{16})", output)[0]


@pytest.mark.parametrize(
    ("processor", "units"),
    [
        ("cortex-a72", ["neon", "scalar"]),  # Graviton1
        ("neoverse-n1", ["neondot", "neon", "scalar"]),  # Graviton2
        ("neoverse-v1", ["neondot", "neon", "scalar"]),  # Graviton3, SVE of 256 bits
        ("neoverse-n2", ["neondot", "neon", "scalar"]),  # SVE2 of 128 bits, as Graviton4
        ("a64fx", ["neon", "scalar"]),  # SVE of 512 bits, no dot product in its hwcap
    ],
)
def test_units_agree_and_only_those_run_that_the_processor_has(
    program: Path, native: str, processor: str, units: list[str]
) -> None:
    done = subprocess.run(
        ["qemu-aarch64-static", "-cpu", processor, program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.findall(r"(\w+): \d+ cases agree", done.stdout) == units
    assert fingerprint(done.stdout) == fingerprint(native)


@pytest.mark.parametrize(
    ("unit", "required", "forbidden"),
    [
        ("neondot", {"sdot": 8, "fmla": 16}, "sadalp"),
        ("neon", {"smull": 4, "sadalp": 4, "fmla": 16}, "sdot"),
        ("scalar", {"fmul": 1}, "sdot|fmla"),
    ],
)
def test_units_hold_their_instructions(program: Path, unit: str, required: dict[str, int], forbidden: str) -> None:
    text = subprocess.run([OBJDUMP, "-d", "-C", program], capture_output=True, text=True, check=True).stdout
    functions = re.split(r"\n(?=[0-9a-f]+ <)", text)
    code = "\n".join(body for body in functions if re.match(rf"[0-9a-f]+ <.*?perwatt::{unit}::\(anonymous", body))
    counts = {name: len(re.findall(rf"\t{name}\t", code)) for name in required}
    assert all(counts[name] >= least for name, least in required.items()), counts
    assert not re.findall(rf"\t(?:{forbidden})\t", code)
