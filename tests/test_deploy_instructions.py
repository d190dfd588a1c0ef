"""Instructions of a query, counted step by step here, and by an emulator's log; in emulation by `make test-arm64`."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from deploy.errors import CountingError
from deploy.instructions import emulated, stepped
from embed.kernels import _native as encoder

SMALL = ["--hidden", "64", "--tokens", "1"]


def layers(count: int, unit: str, precision: str) -> float:
    return stepped.count(["encode", unit, "--layers", str(count), "--precision", precision, *SMALL])


@pytest.mark.parametrize("precision", ["int8", pytest.param("fp32", marks=pytest.mark.long)])
def test_a_count_is_exact_and_every_layer_costs_the_same(precision: str) -> None:
    unit = next(name for name, runs in encoder.units() if runs)
    try:
        one, two, three = (layers(count, unit, precision) for count in (1, 2, 3))
    except CountingError as refused:
        # Some containers let no process lead another; then that is what must be said.
        if re.match(r"ptrace failed: .*it needs the capability SYS_PTRACE", str(refused)):
            return
        raise
    assert layers(1, unit, precision) == one
    # 48 × 1024 products a layer, in tiles or vectors of up to sixteen thousand.
    assert three - two == two - one > 1000


def test_work_that_fails_is_said() -> None:
    with pytest.raises(CountingError, match=r"ended with 1 before it began: encode nonsense"):
        stepped.count(["encode", "nonsense"])


def test_blocks_are_counted_as_often_as_they_ran_and_as_long_as_they_were_then() -> None:
    log = """----------------
IN: perwatt::dot
0x7f0010:  4e809420  sdot v0.4s, v1.16b, v0.16b
0x7f0014:  54ffffc1  b.ne #0x7f0010

Linking TBs 0x7f index 0 -> 0x80
Trace 0: 0x55 [00000000/00000000007f0010/00000000/ff000000] perwatt::dot
Trace 0: 0x55 [00000000/00000000007f0010/00000000/ff000000] perwatt::dot
----------------
IN:
0x7f0010:  4e809420  sdot v0.4s, v1.16b, v0.16b
0x7f0014:  54ffffc1  b.ne #0x7f0010
0x7f0018:  d65f03c0  ret

Trace 0: 0x66 [00000000/00000000007f0010/00000000/ff000000]
"""
    assert emulated.total(log.splitlines(keepends=True)) == 2 + 2 + 3


def test_a_missing_emulated_python_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(CountingError, match=r"arm64-python\.sh"):
        emulated.count(tmp_path / "python", "neoverse-n1", ["encode", "neondot"])


PROGRAM = """#!{python}
import json, os, pathlib, sys
runs = pathlib.Path("runs")
run = len(runs.read_text()) if runs.exists() else 0
runs.write_text("x" * (run + 1))
start = {places}[min(run, len({places}) - 1)]
if log := os.environ.get("QEMU_LOG_FILENAME"):
    trace = f"Trace 0: 0x55 [00000000/{{start:016x}}/00000000/ff000000]\\n"
    ran = trace * (5 + 3 * int(sys.argv[-1]))
    pathlib.Path(log).write_text(f"IN: dot\\n0x{{start:x}}:  ret\\n0x{{start + 4:x}}:  ret\\n" + ran)
print(json.dumps(dict(start=start, end=start + 8, queries=2)))
"""


@pytest.mark.parametrize("places", [[64], [64, 128], [64, 64, 128]])
def test_a_library_that_moved_once_is_counted_where_it_stays(tmp_path: Path, places: list[int]) -> None:
    """As after a first run that compiled Python's modules. The program stands in for an emulated Python."""
    program = tmp_path / "python"
    program.write_text(PROGRAM.format(python=sys.executable, places=places))
    program.chmod(0o755)
    assert emulated.count(program, "neoverse-n1", ["encode", "neondot"]) == 3  # three blocks of two, for two queries


def test_a_library_that_moves_in_every_run_is_said(tmp_path: Path) -> None:
    program = tmp_path / "python"
    program.write_text(PROGRAM.format(python=sys.executable, places=[*range(64, 2048, 64)]))
    program.chmod(0o755)
    with pytest.raises(CountingError, match="addresses are randomised here"):
        emulated.count(program, "neoverse-n1", ["encode", "neondot"])


@pytest.mark.arm64
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("processor", "unit"), [("neoverse-n1", "neondot"), ("neoverse-v1", "i8mm")])
def test_counts_in_emulation_are_exact_and_every_layer_costs_the_same(processor: str, unit: str) -> None:
    from emulation import BUILT

    def counted(count: int) -> float:
        return emulated.count(BUILT / "python", processor, ["encode", unit, "--layers", str(count), *SMALL])

    one, two, three = map(counted, (1, 2, 3))
    assert three - two == two - one > 1000
