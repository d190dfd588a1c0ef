"""When a call is repeated, and how long to wait before.

A call is repeated when the server said that it did nothing and that waiting helps (503, and for a call that changes
nothing also 504), or when the server was never reached. The wait is that of `Retry-After`, else a time that doubles
with every try; both are lengthened at random, so that callers who were refused together do not return together. No wait
goes beyond the total that is allowed.

429 is not repeated: an exhausted quota is for the caller to handle, and hiding it would only slow everything down.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from typing import Any

import httpx

from service.client.calls import Call
from service.client.problems import UnreachableError, problem_of

AGAIN = (503, 504)


@dataclass(frozen=True)
class Retries:
    """
    Args:
        times: further tries.
        first_s: the wait before the second try where the server names none.
        total_s: of all tries and waits together, after which no further try begins.
    """

    times: int = 3
    first_s: float = 0.1
    total_s: float = 30.0

    def begin(self, call: Call[Any]) -> Attempt:
        return Attempt(self, call, time.monotonic())


@dataclass
class Attempt:
    """One call with all its tries."""

    retries: Retries
    call: Call[Any]
    start_s: float
    made: int = 0

    def after_failure(self, url: object, failed: httpx.TransportError) -> float:
        """Seconds to wait before the next try; raises UnreachableError when there is none."""
        wait_s = self._wait_s(None)
        # A change may have been made unless the connection could not be.
        if wait_s is None or (self.call.changes and not isinstance(failed, httpx.ConnectError)):
            raise UnreachableError(f"{url} did not answer: {failed or type(failed).__name__}.") from failed
        return wait_s

    def after_refusal(self, answer: httpx.Response) -> float:
        """Seconds to wait before the next try; raises the answer's problem when there is none."""
        wait_s = None
        # After a 504 a change may have been made.
        if answer.status_code in AGAIN and not (self.call.changes and answer.status_code == 504):
            wait_s = self._wait_s(answer.headers.get("retry-after"))
        if wait_s is None:
            raise problem_of(answer.status_code, answer.content, answer.headers.get("x-request-id"))
        return wait_s

    def _wait_s(self, retry_after: str | None) -> float | None:
        self.made += 1
        if self.made > self.retries.times:
            return None
        named = retry_after is not None and retry_after.isdigit()
        wait_s = float(retry_after or 0) if named else self.retries.first_s * 2.0 ** (self.made - 1)
        wait_s *= 1 + random.random() / 4
        return None if time.monotonic() + wait_s - self.start_s > self.retries.total_s else wait_s
