"""Any command can be metered, from its start to its end, and what came of it is read with care."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from loadtest.cli.load import loadtest
from loadtest.errors import PowerError, RecordError
from loadtest.power.energy import Energy
from loadtest.power.metered import Metered, read_metered, run_metered
from loadtest.power.sources import PowerChannel, PowerSource, ReadingKind

START = time.monotonic()
STEADY = PowerSource(
    "test", "package", "here", (PowerChannel("p", ReadingKind.COUNTER, lambda: 100 * (time.monotonic() - START)),)
)


def metered(**changes: object) -> Metered:
    made = Metered(
        command=["x"], exit_status=0, seconds=3.0, cpu_seconds=2.0, energy=Energy("RAPL", "package", 30, 3.0, 7, {})
    )
    return msgspec.structs.replace(made, **changes)


def test_joules_cover_exactly_the_command() -> None:
    found = run_metered([sys.executable, "-c", "sum(range(10**7)); import sys; sys.exit(3)"], STEADY)
    assert found.exit_status == 3
    assert found.energy.window_s >= found.seconds - 0.0005  # as written: in milliseconds
    assert found.seconds > 0
    assert found.energy.joules == pytest.approx(
        100 * found.energy.window_s, abs=2
    )  # 20 ms: a reading and its time are two
    assert found.cpu_seconds > 0


def test_a_command_that_is_not_there_is_named() -> None:
    with pytest.raises(PowerError, match="cannot be started"):
        run_metered(["/no/such/program"], STEADY)


def test_without_a_sensor_nothing_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loadtest.power.probe.probe", list)
    mark = tmp_path / "ran"
    done = CliRunner().invoke(loadtest, ["metered", str(tmp_path / "e.json"), "touch", str(mark)])
    assert isinstance(done.exception, PowerError)
    assert "nothing to meter with" in str(done.exception)
    assert not mark.exists()


@pytest.mark.parametrize(
    ("change", "says"),
    [({"format": "other/1"}, "has format"), ({"exit_status": 1}, "ended with status 1")],
)
def test_what_was_not_metered_to_a_good_end_is_refused(tmp_path: Path, change: dict[str, object], says: str) -> None:
    file = tmp_path / "energy.json"
    file.write_bytes(msgspec.json.encode(metered(**change)))
    with pytest.raises(RecordError, match=says):
        read_metered(file)
    file.write_text("{}")
    with pytest.raises(RecordError, match="is not what perwatt loadtest metered writes"):
        read_metered(file)
