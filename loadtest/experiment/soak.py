"""Hours at a constant rate: does it get slower, does it grow?

Drift is a trend over the slices of one long trial. Theil and Sen's slope (the median of all pairwise slopes) is not
moved by a few bad minutes, and Kendall's rank test says whether the trend could be chance.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
import numpy as np
import scipy

from loadtest.record.histogram import Histogram
from loadtest.record.trial import Trial

ALPHA = 0.01


class Drift(msgspec.Struct, frozen=True):
    """Change an hour, relative to the beginning; `real` when the trend is unlikely (p < 0.01) to be chance."""

    what: str
    start: float
    per_hour: float
    p_value: float

    @property
    def real(self) -> bool:
        return self.p_value < ALPHA

    def stated(self) -> str:
        trend = "a trend" if self.real else "no trend"
        return f"{self.what}: {self.relative_per_hour:+.1%} an hour ({trend}, p = {self.p_value:.2g})"

    @property
    def relative_per_hour(self) -> float:
        return self.per_hour / self.start if self.start else math.nan


def drift(what: str, values: Sequence[float], step_s: float) -> Drift | None:
    """Trend of values that are `step_s` seconds apart; None with fewer than 8."""
    series = np.asarray(values, dtype=np.float64)
    if len(series) < 8 or not np.isfinite(series).all():
        return None
    hours = np.arange(len(series)) * step_s / 3600
    slope = scipy.stats.theilslopes(series, hours)
    test = scipy.stats.kendalltau(hours, series)
    p_value = 1.0 if np.ptp(series) == 0 else float(test.pvalue)
    return Drift(what, float(slope.intercept), float(slope.slope), p_value)


def drifts(trial: Trial) -> list[Drift]:
    """Trends of p50 and p99 of the response time (s) and of the service's resident memory (bytes)."""
    found = []
    for q in (0.5, 0.99):
        values = [Histogram.decode(piece.response).quantile_s(q, piece.unanswered) for piece in trial.slices]
        found.append(drift(f"p{q * 100:g} of the response time, s", values, trial.slice_s))
    if trial.server is not None and trial.server.rss_bytes:
        step_s = trial.window_s / len(trial.server.rss_bytes)
        found.append(drift("resident memory, bytes", trial.server.rss_bytes, step_s))
    return [one for one in found if one is not None]
