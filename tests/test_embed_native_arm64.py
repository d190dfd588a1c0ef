"""The encoder's arm64 units on a machine that is not one: cross-compiled, run under an emulator, looked into.

On arm64 itself test_embed_native.py and test_embed_native_kernels.py do all of this natively.
"""

from __future__ import annotations

import re

import disassembly
import pytest
from emulation import BUILT, OBJDUMP, PROCESSORS, emulate
from instructions import ENCODER_INSTRUCTIONS

PROGRAM = BUILT / "kernels" / "embed" / "encoder_check"

# Run by `make test-arm64`, which installs the compiler and the emulator and makes what is run.
pytestmark = pytest.mark.arm64


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("processor", PROCESSORS)
def test_units_agree_and_only_those_run_that_the_processor_has(processor: str) -> None:
    units = [unit for unit in PROCESSORS[processor] if unit in ENCODER_INSTRUCTIONS["aarch64"]]
    assert re.findall(r"(\w+): \d+ cases", emulate(processor, PROGRAM)) == units


@pytest.mark.parametrize("unit", ENCODER_INSTRUCTIONS["aarch64"])
def test_units_hold_their_instructions(unit: str) -> None:
    disassembly.check(
        disassembly.instructions(PROGRAM, "perwatt::bert", OBJDUMP), unit, ENCODER_INSTRUCTIONS["aarch64"]
    )
