"""Processors of arm64 that an emulator is told to be, and what of ours each of them must run.

`make test-arm64` makes build/arm64 (deploy/ci/arm64-python.sh): an arm64 Python with index/ in it, and the check
programs.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

BUILT = Path(__file__).parents[1] / "build" / "arm64"
OBJDUMP = "aarch64-linux-gnu-objdump"

# The units of index/kernels, best first.
PROCESSORS = {
    "cortex-a72": ["neon", "scalar"],  # Graviton1: no dot product
    "neoverse-n1": ["neondot", "neon", "scalar"],  # Graviton2, Altra
    "neoverse-v1": ["sve256", "i8mm", "neondot", "neon", "scalar"],  # Graviton3: SVE of 256 bits
    "neoverse-n2": ["i8mm", "neondot", "neon", "scalar"],  # SVE2 of 128 bits, as Graviton4 and Axion
    "a64fx": ["neon", "scalar"],  # SVE of 512 bits; no dot product in its hwcap
}


def emulate(processor: str, *command: str | Path) -> str:
    """What the command prints when it runs on that processor; fails with all of it when it fails."""
    program = Path(command[0])
    assert program.exists(), f"{program} is missing: run make test-arm64"
    emulator = [] if program == BUILT / "python" else ["qemu-aarch64-static"]
    # The C library has string routines for the A64FX alone, which take minutes under QEMU 10 where others take seconds.
    settings = {"QEMU_CPU": processor, "GLIBC_TUNABLES": "glibc.cpu.name=generic"}
    done = subprocess.run(
        [*emulator, *command],
        env=os.environ | settings,
        cwd=BUILT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.fail(f"{processor}: {command} ended with {done.returncode}:\n{done.stdout[-5000:]}", pytrace=False)
    return done.stdout
