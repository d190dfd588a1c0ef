"""Runs of different days compared, for a pipeline: is this build slower than the last by more than is allowed?

The same exit statuses as a comparison of two arms, but nothing to pair by: two samples of capacities, on logarithms,
with unequal variances (Welch). One run a side is inconclusive: it says nothing about run-to-run
noise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
import numpy as np
import scipy
from numpy.typing import NDArray

from loadtest.analysis.compare import lower_bounds, same_question, unequal_recall
from loadtest.analysis.ratio import FEWEST
from loadtest.analysis.reading import Reading
from loadtest.analysis.verdict import Verdict, judge

Logs = NDArray[np.float64]


class Unpaired(msgspec.Struct, frozen=True):
    verdict: Verdict
    ratio: float
    low: float
    high: float
    why: str


def compare_unpaired(
    candidate: Sequence[Reading],
    baseline: Sequence[Reading],
    margin: float,
    level: float = 0.95,
) -> Unpaired:
    """Candidate runs against baseline runs: capacity at the objective. margin: the share of it that may be lost."""
    same_question([*baseline, *candidate], bytewise=False)  # an index is rebuilt between the builds of a pipeline
    bad = [
        f"{run.arm}: {reason}"
        for run in (*candidate, *baseline)
        if run.capacity is None
        for reason in run.invalid or [f"no capacity: {run.no_capacity}"]
    ]
    if bad:
        return Unpaired(Verdict.INVALID, math.nan, math.nan, math.nan, "; ".join(bad))
    new, old = (np.log([run.capacity.qps for run in side if run.capacity]) for side in (candidate, baseline))
    bounded = [*lower_bounds([*baseline, *candidate]), *unequal_recall(candidate, baseline)]
    difference = float(new.mean() - old.mean())
    lost = all(run.unconfirmed for run in candidate) and not any(run.unconfirmed for run in baseline)
    if lost and min(len(new), len(old)) >= FEWEST:
        why = "no run proves the objective any more, in the longer trials near its knee; each of before did"
        return Unpaired(Verdict.WORSE, math.exp(difference), 0.0, math.inf, why)
    if bounded:
        return Unpaired(Verdict.INCONCLUSIVE, math.exp(difference), 0.0, math.inf, "; ".join(bounded))
    if min(len(new), len(old)) < FEWEST:
        why = f"{len(new)} and {len(old)} runs: at least {FEWEST} a side are needed to know the noise between runs"
        return Unpaired(Verdict.INCONCLUSIVE, math.exp(difference), 0.0, math.inf, why)
    ratio, low, high = welch(new, old, level)
    return Unpaired(judge(low, high, margin), ratio, low, high, f"{len(new)} runs against {len(old)}")


def welch(new: Logs, old: Logs, level: float = 0.95) -> tuple[float, float, float]:
    """The ratio of the geometric means of two samples of logarithms, and its interval; (0, ∞) with fewer than FEWEST a
    side."""
    difference = float(new.mean() - old.mean())
    if min(len(new), len(old)) < FEWEST:
        return math.exp(difference), 0.0, math.inf
    variances = new.var(ddof=1) / len(new), old.var(ddof=1) / len(old)
    se = math.sqrt(sum(variances))
    if se == 0:
        return math.exp(difference), math.exp(difference), math.exp(difference)
    freedom = se**4 / sum(v * v / (len(side) - 1) for v, side in zip(variances, (new, old), strict=True))
    reach = float(scipy.special.stdtrit(freedom, (1 + level) / 2)) * se
    return math.exp(difference), math.exp(difference - reach), math.exp(difference + reach)
