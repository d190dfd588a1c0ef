"""How long a command will take, said before it begins.

Windows are added up. A search is as long as it takes to find the knee, so it has two ends: a knee right above the rate
it begins at, with every trial met at once, and one FAR times away, with every miss repeated and every confirmation but
the last refused. Trials that are spoiled and made again, and fetching the exact answers before, are not in it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from loadtest import units
from loadtest.experiment.config import (
    CalibrationRun,
    CurveRun,
    ExperimentConfig,
    KneeRun,
    Run,
    SoakRun,
    TrialRun,
)
from loadtest.experiment.knee import CONFIRMATIONS

STARTING_S = 3.0  # of every trial: processes start, agree on the window, and add up what they saw
FAR = 1024.0  # a knee further from --start-rate than this was not expected there
CALIBRATIONS = 4  # at most, as a rule: one that is met at once ends it
CEILING = 12  # trials at most on the way to the generator's ceiling, as a rule fewer than half of them


class TimedStep(NamedTuple):
    """What is done and between how many seconds it takes."""

    what: str
    least_s: float
    most_s: float


def steps(config: ExperimentConfig, run: Run) -> list[TimedStep]:
    """Of one run, in their order."""
    before_s = STARTING_S + config.warmup_s
    match run:
        case CalibrationRun():
            trial = _calibration(config)
            return [TimedStep("the search for the generator's ceiling", 2 * trial.least_s, CEILING * trial.least_s)]
        case TrialRun():
            first = [_calibration(config)] if run.calibrate else []
            return [*first, _same("one trial", before_s + run.duration_s)]
        case SoakRun():
            return [_same("one trial", before_s + run.duration_s)]
        case CurveRun():
            return [_curve(before_s, run)]
        case KneeRun():
            confirm_s = before_s + run.confirm_s
            return [
                _search(before_s + run.search_s, run),
                TimedStep(f"1 to {CONFIRMATIONS} confirmations", confirm_s, CONFIRMATIONS * confirm_s),
                *([_calibration(config)] if run.calibrate else []),
                *([_curve(before_s, run.curve)] if run.curve is not None else []),
            ]


def in_words(planned: Sequence[TimedStep]) -> list[str]:
    """The sum first, then a line a step."""
    lines = [f"this takes {about(*total(planned))}"]
    if len(planned) > 1:
        lines += [f"  {step.what}: {about(step.least_s, step.most_s)}" for step in planned]
    return lines


def total(planned: Sequence[TimedStep]) -> tuple[float, float]:
    """The least and the most seconds of all steps."""
    return sum(step.least_s for step in planned), sum(step.most_s for step in planned)


def about(least_s: float, most_s: float) -> str:
    """ "some 40 s", "some 5 min to 13 min": no finer than such a forecast is."""
    return f"some {units.spread(least_s, most_s, _rounded)}"


def _rounded(value_s: float) -> str:
    if value_s < 90:
        return f"{value_s:.0f} s"
    return f"{value_s / 60:.0f} min" if value_s < 5400 else f"{value_s / 3600:.1f} h"


def _same(what: str, seconds: float) -> TimedStep:
    return TimedStep(what, seconds, seconds)


def _search(trial_s: float, run: KneeRun) -> TimedStep:
    """Doubling until it is missed, which is tried twice, and halving the bracket to the tolerance."""
    halvings = math.ceil(math.log2(math.log(2) / math.log1p(run.tolerance)))
    doublings = math.ceil(math.log2(min(max(run.limit_qps / run.start_qps, 1.0), FAR)))
    least = 1 if not doublings else 3 + halvings
    most = 2 if not doublings else doublings + 2 + 2 * halvings
    return TimedStep(f"{least} to {most} trials of the search", least * trial_s, most * trial_s)


def _calibration(config: ExperimentConfig) -> TimedStep:
    trial_s = STARTING_S + 1.0 + config.calibrate_s
    return TimedStep("the generator's calibration", trial_s, CALIBRATIONS * trial_s)


def _curve(before_s: float, run: CurveRun) -> TimedStep:
    return _same(f"idle and {run.levels} levels of the curve", run.level_s + run.levels * (before_s + run.level_s))
