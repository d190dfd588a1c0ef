"""One request to one shard: which of its replicas are asked, when another one too, and until when.

choice   of two replicas drawn at random, the one that has fewer of our requests (power of two choices). Those that
         another replica had to answer count too, until it answers again: one that hangs is soon asked no more.
retry    when a replica fails, or is found not to answer at all, the next one is asked: at once, and each once.
hedge    when a replica takes longer than 95 % of this shard's recent answers took, another is asked too, and the
         first answer counts. At most one request in twenty is doubled, so that a shard that is slow under load is
         not given twice the load. A few of those are kept for requests that take several times as long.

Answers call back, and all shards of a search are waited for at once (`together.py`). With a task for each shard and for
each replica that it asks, a search would cost the router more than a shard.
"""

from __future__ import annotations

import math
import random
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from service.routing.connection import Reply, Unanswered
from service.routing.replica import Replica, ReplicaCall, ShardRequest
from service.routing.together import Together
from service.wire.problems import KINDS, Problem

HEDGED = 0.05  # of the requests, at most
SAVED_HEDGES, KEPT_HEDGES = 12.0, 6.0  # that may come at once after a quiet time; of them, for the very late
VERY_LATE = 4.0  # times the 95 %
LOOKED_S = 0.2  # between looks whether who was asked has been found not to answer
REMEMBERED = 512  # answers of which the 95 % are taken, anew when a fourth of them are new: sorting them costs
LEAST_KNOWN = 20  # answers before any request is hedged
# What another replica may answer better: it fails, is overloaded or ending, or serves another generation by now.
_ELSEWHERE = frozenset({404, 410, 429, 500, 502, 503})
DENIED = frozenset({401, 403})


class ShardSilent(Exception):  # noqa: N818 - what it means is for the router to decide
    """No replica of a shard has answered. `late`: there was no more time, rather than nobody to ask."""

    def __init__(self, why: str, late: bool = False) -> None:
        super().__init__(why)
        self.late = late


class Slowest:
    """How long all but the slowest 5 % of the recent answers took; infinite while too few are known."""

    def __init__(self) -> None:
        self._took: deque[float] = deque(maxlen=REMEMBERED)
        self._new = 0
        self.p95_s = math.inf

    def note(self, took_s: float) -> None:
        self._took.append(took_s)
        self._new += 1
        if self._new >= max(LEAST_KNOWN, len(self._took) // 4):
            self._new = 0
            self.p95_s = sorted(self._took)[math.ceil(0.95 * len(self._took)) - 1]


class Hedges:
    """What is known of a shard's answers, and how many requests may be doubled.

    Args:
        count_hedge, count_retry: told of each.
    """

    def __init__(self, count_hedge: Callable[[], None], count_retry: Callable[[], None]) -> None:
        self.slowest = Slowest()
        self.count_retry = count_retry
        self._saved = SAVED_HEDGES
        self._count_hedge = count_hedge

    def earn(self) -> None:
        """One more request was made."""
        if self._saved < SAVED_HEDGES:
            self._saved = min(SAVED_HEDGES, self._saved + HEDGED)

    def take(self, very_late: bool) -> bool:
        """Whether a request may be doubled now; it is counted."""
        if self._saved < 1 + (0.0 if very_late else KEPT_HEDGES):
            return False
        self._saved -= 1
        self._count_hedge()
        return True


class Asking:
    """A request for a part that is under way.

    Args:
        replicas: that may be asked; the list is used up.
        now_s: `time.perf_counter` now.
        until_s: `time.perf_counter` at which it is too late.
        together: is told once it has an answer; before `Asking` returns, where there is nobody to ask.
    """

    __slots__ = (
        *("_calls", "_denied", "_hedge_s", "_hedges", "_left", "_request", "_together", "_until_s", "_very_late_s"),
        *("_why", "answer", "due_s"),
    )

    def __init__(
        self,
        replicas: list[Replica],
        hedges: Hedges,
        request: ShardRequest,
        now_s: float,
        until_s: float,
        together: Together,
    ) -> None:
        # The content of the first good answer; or that there is none, or that the shard refuses the request, as its
        # every replica would.
        self.answer: bytes | ShardSilent | Problem | None = None
        self._left, self._hedges, self._request = replicas, hedges, request
        self._until_s, self._together = until_s, together
        self._calls: list[ReplicaCall] = []
        self.due_s = until_s
        self._why, self._denied = "no replica serves the generation", False
        hedges.earn()
        p95_s = hedges.slowest.p95_s
        self._hedge_s, self._very_late_s = now_s + p95_s, now_s + VERY_LATE * p95_s
        if replicas:
            self._begin()
            self._wait(now_s)
        else:
            self._nobody()

    def cancel(self) -> None:
        """Takes back what is under way; nobody is told."""
        for call in self._calls:
            call.cancel()
        self._calls = []

    def _begin(self) -> None:
        replica = _less_busy(self._left)
        self._left.remove(replica)
        self._calls.append(replica.begin(self._request, self._answered))

    def _end(self, answer: bytes | ShardSilent | Problem) -> None:
        self.answer = answer
        if self._calls:
            for call in self._calls:
                call.replica.lost += 1
            self.cancel()
        self._together.ended()

    def _nobody(self) -> None:
        denied = "; the key that the router has for its shards may not search them" if self._denied else ""
        self._end(ShardSilent(f"{self._why}{denied}"))

    def _wait(self, now_s: float) -> None:
        self.due_s = min(self._until_s, now_s + LOOKED_S, self._hedge_s) if self._left else self._until_s

    def look(self, now_s: float) -> None:
        """At `due_s`: it is too late, or time to ask another replica."""
        if now_s >= self._until_s:
            self._end(ShardSilent("it did not answer in time", late=True))
            return
        if self._left:
            if not any(call.replica.up for call in self._calls):
                self._hedges.count_retry()
                self._begin()
            elif now_s >= self._hedge_s:
                very_late = now_s >= self._very_late_s
                self._hedge_s = math.inf if very_late else self._very_late_s
                if self._hedges.take(very_late):
                    self._hedge_s = math.inf
                    self._begin()
        self._wait(now_s)

    def _answered(self, call: ReplicaCall, outcome: Reply | Unanswered) -> None:
        self._calls.remove(call)
        replica = call.replica
        if isinstance(outcome, Unanswered):
            self._why = f"{replica.address}: {outcome}"
            replica.down(str(outcome))
        elif outcome.status == 200:
            replica.lost = 0
            self._hedges.slowest.note(time.perf_counter() - call.begun_s)
            self._end(outcome.content)
            return
        elif outcome.status == 504:
            self._end(ShardSilent(f"{replica.address} did not answer in time", late=True))
            return
        elif outcome.status not in _ELSEWHERE | DENIED:
            self._end(problem_in(outcome))
            return
        else:
            self._denied = self._denied or outcome.status in DENIED
            self._why = f"{replica.address} answered with {outcome.status}"
        if self._calls:
            return
        if self._left:
            self._hedges.count_retry()
            self._begin()
        else:
            self._nobody()


def _less_busy(replicas: Sequence[Replica]) -> Replica:
    count = len(replicas)
    if count == 1:
        return replicas[0]
    drawn = int(random.random() * count)  # `random.sample` takes as long as sending the request
    one, other = replicas[drawn], replicas[(drawn + 1 + int(random.random() * (count - 1))) % count]
    return one if one.outstanding + one.lost <= other.outstanding + other.lost else other


def problem_in(reply: Reply) -> Problem:
    """The problem that a shard answered with, as the router passes it on."""
    try:
        said: dict[str, Any] = msgspec.json.decode(reply.content, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError):
        said = {}
    code, pointer = said.get("code"), said.get("pointer")
    if code not in KINDS:
        return Problem("internal", f"A shard answered with {reply.status}, which the router does not understand.")
    known = ("type", "title", "status", "code", "detail", "pointer", "instance")
    members = {name: value for name, value in said.items() if name not in known}
    return Problem(
        str(code), str(said.get("detail", "")), pointer=pointer if isinstance(pointer, str) else None, **members
    )
