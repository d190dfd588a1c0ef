"""When to ask again, and how long to wait before.

A request is repeated when the server said that it did nothing and that waiting helps (503; 504 for a call that changes
nothing), or when it was never reached. It waits as long as `Retry-After` says, else a time that doubles with every try;
both are stretched by chance, so that callers who were refused together do not come back together. It never waits beyond
what it was given in all: an answer that comes after its caller lost patience is of no use.

429 is not repeated: a quota that is used up is the caller's own matter, and hiding it would only slow everything down.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass

AGAIN = (503, 504)


@dataclass(frozen=True)
class Retries:
    """times: further tries. first_s: the wait before the second try where the server names none. total_s: of all tries
    and waits together, after which no further try begins."""

    times: int = 3
    first_s: float = 0.1
    total_s: float = 30.0

    def begin(self) -> Attempt:
        return Attempt(self, time.monotonic())


@dataclass
class Attempt:
    retries: Retries
    start_s: float
    made: int = 0

    def wait_s(self, status: int | None, retry_after: str | None, changes: bool) -> float | None:
        """Seconds to wait before the next try; None: there is none. status None: the server was not reached."""
        self.made += 1
        if self.made > self.retries.times or (status is not None and status not in AGAIN):
            return None
        if changes and status == 504:
            return None  # it may have been done
        wait_s = _seconds(retry_after)
        if wait_s is None:
            wait_s = self.retries.first_s * 2.0 ** (self.made - 1)
        wait_s *= 1 + random.random() / 4
        if time.monotonic() + wait_s - self.start_s > self.retries.total_s:
            return None
        return wait_s


def _seconds(retry_after: str | None) -> float | None:
    return float(retry_after) if retry_after is not None and retry_after.isdigit() else None
