"""What counts as good enough, and whether a trial was: the service-level objective of a search.

A rate is sustained when the tail meets the objective, nearly nothing fails, nearly everything that was due was
answered, and the answers are still the right ones. One of these alone is easy to have.
"""

from __future__ import annotations

import msgspec

from loadtest import units
from loadtest.record.intervals import quantile_interval_s
from loadtest.record.trial import Trial


class Objective(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """p99 of the response time (from the due time) in ms; recall@k as a lower 95 % bound, or what `measure` names; the
    rest are shares."""

    p99_ms: float = 100.0
    recall: float | None = None
    max_error_rate: float = 0.001
    min_answered: float = 0.995
    measure: str = "recall"

    def misses(self, trial: Trial, strict: bool, *, proven: bool | None = None) -> list[str]:
        """Why the trial does not meet the objective; empty when it does.

        `strict` demands the upper end of the interval of p99 and the lower end of recall's; otherwise the point
        estimates decide, which is what a search for the crossing needs: it must not be biased to one side. `proven`
        says it of recall alone.
        """
        missed = []
        proven = strict if proven is None else proven
        p99_s = trial.response_s(0.99)
        if strict and trial.planned:
            p99_s = max(p99_s, quantile_interval_s(trial.slices, 0.99)[1])
        if trial.planned and not p99_s * 1e3 <= self.p99_ms:
            bound = "upper bound of p99" if strict else "p99"
            missed.append(f"{bound} is {units.seconds(p99_s)}, above {units.milliseconds(self.p99_ms)}")
        if trial.error_rate > self.max_error_rate:
            missed.append(f"{trial.error_rate:.2%} of the requests failed, above {self.max_error_rate:.2%}")
        if trial.answered_share < self.min_answered:
            missed.append(f"{trial.answered_share:.2%} of what was due was answered, below {self.min_answered:.2%}")
        if trial.server is not None and trial.server.unreadable > self.max_error_rate * trial.server.sampled:
            share = trial.server.unreadable / trial.server.sampled
            missed.append(f"{share:.2%} of the sampled answers could not be read, above {self.max_error_rate:.2%}")
        if self.recall is not None and trial.recall is not None:
            found = trial.recall.low if proven else trial.recall.mean
            if found < self.recall:
                bound = f"lower bound of {self.measure}" if proven else self.measure
                missed.append(f"{bound} is {found:.4f}, below {self.recall:g}")
        if proven and self.recall is not None and trial.recall is None and trial.planned:
            missed.append(f"{self.measure} was asked for and could not be measured")
        return missed
