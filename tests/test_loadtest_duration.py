"""Before a command begins it says how long it takes, and a dry run says no more than that and does nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from loadtest.cli.load import loadtest
from loadtest.errors import TargetError
from loadtest.experiment.config import CurveRun, ExperimentConfig, KneeRun, SoakRun, TrialRun
from loadtest.experiment.duration import STARTING_S, TimedStep, about, in_words, steps, total
from loadtest.experiment.knee import find_knee
from loadtest.record.objective import Objective
from loadtest.record.trial import Trial
from loadtest.selftest.simulate import Queue, simulated_trial


@pytest.fixture
def queries(tmp_path: Path) -> Path:
    path = tmp_path / "queries.txt"
    path.write_text("one question\n")
    return path


def dry(command: str, *more: str) -> str:
    ran = CliRunner().invoke(loadtest, [command, "--index", "docs", "--queries", __file__, "--dry-run", *more])
    assert ran.exit_code == 0, ran.output
    return ran.output


CONFIG = ExperimentConfig(index="docs", queries=Path(__file__))
BARE = KneeRun(curve=None, calibrate=False)


def test_windows_are_added_up_with_what_comes_before_each() -> None:
    run = TrialRun(rate_qps=5, duration_s=60)
    assert steps(replace(CONFIG, warmup_s=4), run) == [TimedStep("one trial", 64 + STARTING_S, 64 + STARTING_S)]
    assert "some 67 s" in dry("run", "--rate", "5", "--duration", "60", "--warmup", "4")
    soak = steps(replace(CONFIG, warmup_s=0), SoakRun(rate_qps=5, hours=2))
    assert total(soak) == (7200 + STARTING_S, 7200 + STARTING_S)
    curve = steps(replace(CONFIG, warmup_s=1), CurveRun(levels=4, level_s=20))
    assert total(curve) == (20 + 4 * (21 + STARTING_S),) * 2
    assert about(*total(curve)) in dry("curve", "--capacity", "5", "--levels", "4", "--level-s", "20", "--warmup", "1")


@pytest.mark.parametrize("capacity_qps", [60.0, 150.0, 900.0, 20_000.0])
def test_a_search_is_as_long_as_was_said(capacity_qps: float) -> None:
    seconds: list[float] = []

    def measure(rate: float, duration: float, role: str) -> Trial:
        seconds.append(2.0 + STARTING_S + duration)
        return simulated_trial(Queue(1 / capacity_qps), rate, duration, len(seconds), role)

    find_knee(measure, Objective(p99_ms=1e3 * 20 / capacity_qps), start_qps=50, search_s=10, confirm_s=30)
    least, most = total(steps(CONFIG, replace(BARE, start_qps=50)))
    assert least <= sum(seconds) <= most


def test_what_is_left_out_takes_no_time() -> None:
    whole, bare = total(steps(CONFIG, KneeRun())), total(steps(CONFIG, BARE))
    at_limit = total(steps(CONFIG, replace(BARE, limit_qps=20)))
    assert about(*whole) in dry("knee")
    assert about(*bare) in dry("knee", "--no-curve", "--no-calibrate")
    assert at_limit < bare < whole


def test_a_forecast_is_no_finer_than_it_can_be() -> None:
    assert [about(s, s) for s in (12.3, 200.0, 9000.0)] == ["some 12 s", "some 3 min", "some 2.5 h"]
    assert in_words([TimedStep("a", 20, 60), TimedStep("b", 60, 240)]) == [
        "this takes some 80 s to 5 min", "  a: some 20 s to 60 s", "  b: some 60 s to 4 min",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("command", "more", "says"),
    [
        ("run", ["--rate", "5", "--duration", "600"], "this takes some 10 min"),
        ("knee", [], "this takes some 5 min to 13 min"),
        ("curve", ["--capacity", "9"], "this takes some 3 min"),
        ("soak", ["--rate", "5", "--hours", "8"], "this takes some 8.0 h"),
        ("calibrate", [], "this takes some 18 s to "),
    ],
)
def test_a_dry_run_says_how_long_and_does_nothing(
    command: str, more: list[str], says: str, queries: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out" / "run.json"
    asked = ["--url", "http://127.0.0.1:1", "--index", "docs", "--queries", str(queries), "--out", str(out), *more]
    done = CliRunner().invoke(loadtest, [command, *asked, "--dry-run"], catch_exceptions=False)
    assert done.exit_code == 0
    assert done.output.startswith(says)
    assert done.output.splitlines()[-1] == "dry run: nothing was asked and nothing loaded"
    assert not out.parent.exists()


def test_the_same_is_said_before_a_command_that_is_not_dry(queries: Path) -> None:
    done = CliRunner().invoke(
        loadtest, ["run", "--url", "http://127.0.0.1:1", "--index", "docs", "--queries", str(queries), "--rate", "5"]
    )
    assert isinstance(done.exception, TargetError)
    assert done.stderr.startswith("this takes some 35 s\n")
