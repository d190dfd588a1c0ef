"""From an interval to a word, and from the word to an exit status that a pipeline can act on.

better, equal   0    the whole interval lies above 1, or above 1 − margin: nothing was lost that matters
worse           1    the whole interval lies below 1, and it reaches below the margin
inconclusive    2    the interval cannot tell; the answer is more blocks, not a bolder reader
invalid         3    the measurement failed its own checks, so there is no number
"""

from __future__ import annotations

import enum


class Verdict(enum.Enum):
    BETTER = "better"
    EQUAL = "equal"
    WORSE = "worse"
    INCONCLUSIVE = "inconclusive"
    INVALID = "invalid"

    @property
    def exit_status(self) -> int:
        return {"better": 0, "equal": 0, "worse": 1, "inconclusive": 2, "invalid": 3}[self.value]


def judge(low: float, high: float, margin: float) -> Verdict:
    """The verdict on a ratio whose interval is [low, high]; `margin` is a loss that does not matter (0.02: 2 %)."""
    if not (low <= high):
        return Verdict.INVALID
    if low > 1:
        return Verdict.BETTER
    if low >= 1 - margin:
        return Verdict.EQUAL
    if high < 1:
        return Verdict.WORSE
    return Verdict.INCONCLUSIVE
