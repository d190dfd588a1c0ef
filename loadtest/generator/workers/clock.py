"""What the master's clock says when ours says something.

Every host has a monotonic clock of its own. A worker asks the master for its time some times; the quickest answer tells
the difference to within half of what the question took. Where that difference is no larger than its error, the two have
one clock (they run on one machine), and it is taken as none.
"""

from __future__ import annotations

import math

QUESTIONS = 8
ROUNDING_S = 1e-9  # of sums of times


class MasterClock:
    """`offset_s` added to a time of ours gives the master's, to within `error_s` either way."""

    def __init__(self) -> None:
        self.offset_s = 0.0
        self.error_s = math.inf
        self.answers = 0

    def heard(self, asked_s: float, there_s: float, back_s: float) -> None:
        """The master's clock said `there_s` at some moment between `asked_s` and `back_s` of ours."""
        self.answers += 1
        error_s = (back_s - asked_s) / 2
        if error_s >= self.error_s:
            return
        offset_s = there_s - (asked_s + back_s) / 2
        self.error_s = error_s
        self.offset_s = 0.0 if abs(offset_s) <= error_s + ROUNDING_S else offset_s

    @property
    def known(self) -> bool:
        return self.answers >= QUESTIONS

    @property
    def shared(self) -> bool:
        """Whether it is our own clock, as far as can be told."""
        return self.offset_s == 0.0

    def here(self, there_s: float) -> float:
        """A time of the master's on our clock."""
        return there_s - self.offset_s
