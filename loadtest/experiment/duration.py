"""How long a command will take, said before it begins.

Windows are added up. A search is as long as it takes to find the knee, so it has two ends: a knee right above the rate
it begins at, with every trial met at once, and one FAR times away, with every miss repeated and every confirmation but
the last refused. Trials that are spoiled and made again, and fetching the exact answers before, are not in it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from loadtest import units
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


def steps(kind: str, given: Mapping[str, Any]) -> list[TimedStep]:
    """Of `perwatt loadtest run | knee | curve | soak | calibrate`, by the names of the command's parameters."""
    before_s = STARTING_S + float(given["warmup_s"])
    if kind == "calibrate":
        trial = _calibration(given)
        return [TimedStep("the search for the generator's ceiling", 2 * trial.least_s, CEILING * trial.least_s)]
    if kind == "run":
        first = [_calibration(given)] if given["calibrate_first"] else []
        return [*first, _same("one trial", before_s + given["duration_s"])]
    if kind == "soak":
        return [_same("one trial", before_s + round(given["hours"] * 3600))]
    if kind == "curve":
        return [_curve(before_s, given)]
    found = [_search(before_s + given["search_s"], given)]
    confirm_s = before_s + given["confirm_s"]
    found.append(TimedStep(f"1 to {CONFIRMATIONS} confirmations", confirm_s, CONFIRMATIONS * confirm_s))
    if given["calibrate_after"]:
        found.append(_calibration(given))
    if given["with_curve"]:
        found.append(_curve(before_s, given))
    return found


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


def _search(trial_s: float, given: Mapping[str, Any]) -> TimedStep:
    """Doubling until it is missed, which is tried twice, and halving the bracket to the tolerance."""
    halvings = math.ceil(math.log2(math.log(2) / math.log1p(given["tolerance"])))
    doublings = math.ceil(math.log2(min(max(given["limit_qps"] / given["start_qps"], 1.0), FAR)))
    least = 1 if not doublings else 3 + halvings
    most = 2 if not doublings else doublings + 2 + 2 * halvings
    return TimedStep(f"{least} to {most} trials of the search", least * trial_s, most * trial_s)


def _calibration(given: Mapping[str, Any]) -> TimedStep:
    trial_s = STARTING_S + 1.0 + given["calibrate_s"]
    return TimedStep("the generator's calibration", trial_s, CALIBRATIONS * trial_s)


def _curve(before_s: float, given: Mapping[str, Any]) -> TimedStep:
    idle_s, levels = given["level_s"], given["levels"]
    return _same(f"idle and {levels} levels of the curve", idle_s + levels * (before_s + given["level_s"]))
