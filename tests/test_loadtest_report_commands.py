"""The commands that read records: what they print and write, and the exit status in which CI reads a verdict."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner
from loadtest_records import invalid, three_arms, write_all

from loadtest.cli.reports import compare as compare_command
from loadtest.cli.reports import fleet as fleet_command
from loadtest.cli.reports import report as report_command
from loadtest.cli.sources import prices as prices_command
from loadtest.errors import RecordError
from loadtest.record.run_record import Label, Record, write_record


@pytest.fixture
def records() -> list[Record]:
    return three_arms()


@pytest.fixture
def folder(records: list[Record], tmp_path: Path) -> Path:
    return write_all(records, tmp_path / "runs")


def test_compare_prints_the_ratios_and_ends_with_the_verdicts_status(folder: Path) -> None:
    arms = ["--baseline", "x86", "--candidate", "arm", "--replica", "x86 again"]
    done = CliRunner().invoke(compare_command, [str(folder), *arms])
    assert done.exit_code == 0, done.output
    assert done.output.startswith("better: arm against x86, queries per dollar")
    assert "A/A" in done.output
    back = CliRunner().invoke(compare_command, [str(folder), "--baseline", "arm", "--candidate", "x86"])
    assert back.exit_code == 1
    joule = CliRunner().invoke(compare_command, [str(folder), *arms, "--metric", "joule"])
    assert joule.exit_code == 2
    found = json.loads(CliRunner().invoke(compare_command, [str(folder), *arms, "--json"]).output)
    assert found["comparison"]["verdict"] == "better"


def test_an_invalid_run_ends_compare_and_gate_with_three(folder: Path, records: list[Record]) -> None:
    write_record(invalid(records[0]), folder / "0-x86.json")
    arms = ["--baseline", "x86", "--candidate", "arm"]
    assert CliRunner().invoke(compare_command, [str(folder), *arms]).exit_code == 3
    done = CliRunner().invoke(compare_command, [str(folder / "0-x86.json"), "--unpaired", str(folder / "0-arm.json")])
    assert done.exit_code == 3
    assert done.output.startswith("invalid")
    assert f"\n  {folder / '0-x86.json'} may not be believed: " in done.output
    assert f"{folder / '0-arm.json'} may not" not in done.output


def test_runs_of_other_days_are_read_from_folders_and_the_margin_in_percent(folder: Path, tmp_path: Path) -> None:
    for arm in ("x86", "arm"):
        (tmp_path / arm).mkdir()
        for path in folder.glob(f"?-{arm}.json"):
            (tmp_path / arm / path.name).write_bytes(path.read_bytes())
    loss = CliRunner().invoke(
        compare_command, [str(tmp_path / "x86"), "--unpaired", str(tmp_path / "arm"), "--margin", "2%"]
    )
    assert loss.exit_code == 1, loss.output
    gain = CliRunner().invoke(compare_command, [str(tmp_path / "arm"), "--unpaired", str(tmp_path / "x86")])
    assert gain.exit_code == 0
    wrong = CliRunner().invoke(
        compare_command, [str(tmp_path / "arm"), "--unpaired", str(tmp_path / "x86"), "--margin", "5 apples"]
    )
    assert wrong.exit_code == 2
    assert "is not a share" in wrong.output
    mixed = CliRunner().invoke(compare_command, [str(tmp_path / "arm"), "--unpaired", str(tmp_path / "x86"), "--json"])
    assert mixed.exit_code == 2
    assert "of other options it takes --margin" in mixed.output


def test_report_writes_all_three_forms(folder: Path, tmp_path: Path) -> None:
    arms = ["--baseline", "x86", "--candidate", "arm", "--replica", "x86 again"]
    out = [str(tmp_path / name) for name in ("r.html", "r.md", "r.json")]
    done = CliRunner().invoke(
        report_command, [str(folder), *arms, "--html", out[0], "--markdown", out[1], "--json", out[2]]
    )
    assert done.exit_code == 0, done.output
    assert Path(out[0]).read_text().startswith("<!doctype html>")
    assert Path(out[1]).read_text().startswith("## arm against x86")
    assert json.loads(Path(out[2]).read_text())["format"] == "perwatt-report/1"


def test_arms_that_are_not_clear_are_asked_for(folder: Path) -> None:
    done = CliRunner().invoke(report_command, [str(folder)])
    assert isinstance(done.exception, RecordError)
    assert "say which is --baseline" in str(done.exception)


def test_what_cannot_be_compared_is_invalid_and_not_worse(folder: Path, tmp_path: Path) -> None:
    """Where the exit status is a verdict, a damaged file must not look like a slower build."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "cut.json").write_bytes((folder / "0-x86.json").read_bytes()[:3000])
    runs, cut, empty = str(folder), str(tmp_path / "cut.json"), str(tmp_path / "empty")
    for command, arguments, says in (
        (compare_command, [runs, cut, "--baseline", "x86", "--candidate", "arm"], "cut.json is not a run record"),
        (compare_command, [empty], "empty holds no run record"),
        (compare_command, [runs, str(tmp_path / "gone")], "gone does not exist"),
        (compare_command, [runs, "--baseline", "x86", "--candidate", "alpha"], "there is no arm 'alpha'"),
        (compare_command, [runs, "--unpaired", str(tmp_path / "none")], "there is no run at"),
        (compare_command, [empty, "--unpaired", runs], "empty holds no run record"),
        (compare_command, [runs, "--unpaired", cut], "cut.json is not a run record"),
    ):
        done = CliRunner().invoke(command, arguments)
        assert done.exit_code == 3, done.output
        assert "invalid: " in done.output
        assert says in done.output


def test_a_report_that_cannot_be_written_is_named(folder: Path) -> None:
    done = CliRunner().invoke(report_command, [str(folder / "0-x86.json"), "--html", "/dev/null/report.html"])
    assert isinstance(done.exception, RecordError)
    assert "/dev/null/report.html cannot be written" in str(done.exception)


def test_fleet_and_prices_print_what_they_know(folder: Path) -> None:
    done = CliRunner().invoke(fleet_command, [str(folder / "0-arm.json"), "--peak", "20000", "--grid", "0.3"])
    assert done.exit_code == 0, done.output
    assert re.search(r"Energy a month: .* kWh, modelled", done.output)
    listed = CliRunner().invoke(prices_command, ["list", "c8g.x"])
    assert listed.output.startswith("c8g.xlarge")
    assert len(listed.stdout.splitlines()) == 1


def test_labels_name_arms_and_blocks() -> None:
    assert Label("a", 3).simulated is False
