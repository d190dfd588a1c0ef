"""Asking one shard: which of its replicas, when another one too, and until when.

choice   of two replicas drawn at random, the one that has fewer of our requests (power of two choices). A replica
         that hangs keeps its requests, so it is soon asked no more.
retry    when a replica fails, or is found not to answer at all, the next one is asked: at once, and each once.
hedge    when a replica takes longer than 95 % of this shard's recent answers took, another is asked too, and the
         first answer counts. At most one request in twenty is doubled, so that a shard that is slow under load is
         not given twice the load. A few of those are kept for requests that take several times as long.
write    goes to the replica that took the last one, and else to each in turn: one of them writes the log.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from service.routing.connection import Reply, Unanswered
from service.routing.replica import Replica
from service.telemetry.tracing import PASSED_ON
from service.wire.problems import KINDS, Problem

HEDGED = 0.05  # of the requests, at most
SAVED_HEDGES, KEPT_HEDGES = 12.0, 6.0  # that may come at once after a quiet time; of them, for the very late
VERY_LATE = 4.0  # times the 95 %
LOOKED_S = 0.2  # between looks whether who was asked has been found not to answer
REMEMBERED, COUNTED_ANEW = 512, 32  # answers of which the 95 % are taken, and after how many of them
LEAST_KNOWN = 20  # answers before any request is hedged
# What another replica may answer better: it fails, is overloaded or ending, or serves another generation by now.
_ELSEWHERE = frozenset({404, 410, 429, 500, 502, 503})
_DENIED = frozenset({401, 403})


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
        if self._new >= COUNTED_ANEW or (self.p95_s == math.inf and len(self._took) >= LEAST_KNOWN):
            self._new = 0
            self.p95_s = sorted(self._took)[math.ceil(0.95 * len(self._took)) - 1]


class RoutedShard:
    """
    Args:
        count_hedge, count_retry: told of each.
    """

    def __init__(
        self, replicas: Sequence[Replica], count_hedge: Callable[[], None], count_retry: Callable[[], None]
    ) -> None:
        self.replicas = tuple(replicas)
        self.slowest = Slowest()
        self._hedges = SAVED_HEDGES
        self._writer: Replica | None = None  # that took the last write
        self._count_hedge, self._count_retry = count_hedge, count_retry

    def serving(self, name: str, generation: str) -> list[Replica]:
        """The replicas that answer for a generation."""
        return [replica for replica in self.replicas if replica.answers(name, generation)]

    async def ask(self, name: str, generation: str, content: bytes, until_s: float) -> bytes:
        """The content of the first good answer to a request for a part.

        Args:
            until_s: `time.perf_counter` at which it is too late.

        Raises:
            ShardSilent: there is none.
            Problem: the shard refuses the request, and so would its every replica.
        """
        path = f"/v1/indexes/{generation}/part"
        left = self.serving(name, generation)
        asked: dict[asyncio.Task[Reply], tuple[Replica, float]] = {}
        self._hedges = min(SAVED_HEDGES, self._hedges + HEDGED)
        hedge_s = very_late_s = math.inf
        why, denied = "no replica serves the generation", False

        def begin() -> None:
            replica = _less_busy(left)
            left.remove(replica)
            task = asyncio.ensure_future(replica.ask("POST", path, content, PASSED_ON.get()))
            asked[task] = replica, time.perf_counter()

        if left:
            begin()
            hedge_s = time.perf_counter() + self.slowest.p95_s
            very_late_s = time.perf_counter() + VERY_LATE * self.slowest.p95_s
        try:
            while asked:
                now_s = time.perf_counter()
                if now_s >= until_s:
                    raise ShardSilent("it did not answer in time", late=True)
                next_s = min(until_s, now_s + LOOKED_S, hedge_s) if left else until_s
                done, _ = await asyncio.wait(
                    asked, timeout=max(0.0, next_s - now_s), return_when=asyncio.FIRST_COMPLETED
                )
                if not done and left:
                    now_s = time.perf_counter()
                    if not any(replica.up for replica, _ in asked.values()):
                        self._count_retry()
                        begin()
                    elif now_s >= hedge_s:
                        kept = 0.0 if now_s >= very_late_s else KEPT_HEDGES
                        hedge_s = very_late_s if now_s < very_late_s else math.inf
                        if self._hedges >= 1 + kept:
                            self._hedges -= 1
                            hedge_s = math.inf
                            self._count_hedge()
                            begin()
                for task in done:
                    replica, since_s = asked.pop(task)
                    try:
                        reply = task.result()
                    except Unanswered as error:
                        why = f"{replica.address}: {error}"
                        replica.down(str(error))
                        continue
                    if reply.status == 200:
                        self.slowest.note(time.perf_counter() - since_s)
                        return reply.content
                    if reply.status == 504:
                        raise ShardSilent(f"{replica.address} did not answer in time", late=True)
                    if reply.status not in _ELSEWHERE | _DENIED:
                        raise problem_in(reply)
                    denied = denied or reply.status in _DENIED
                    why = f"{replica.address} answered with {reply.status}"
                if not asked and left:
                    self._count_retry()
                    begin()
        finally:
            for task in asked:
                task.cancel()
        raise ShardSilent(f"{why}; the key that the router has for its shards may not search them" if denied else why)

    async def write(self, name: str, method: str, path: str, content: bytes, headers: str, until_s: float) -> bytes:
        """The content of the answer to a write of an index, of the replica that writes the log they all share.

        Args:
            until_s: as in `ask`.

        Raises:
            ShardSilent: none has taken it, or one may have and did not say so.
            Problem: the shard refuses it.
        """
        known = [replica for replica in self.replicas if name in replica.serving]
        folders = {replica.serving[name].folder for replica in known}
        if len(known) < len(self.replicas):
            never = next(replica for replica in self.replicas if replica not in known)
            raise ShardSilent(f"{never.address} was never seen to serve {name}, and it has to have what is written")
        if len(folders) > 1:
            raise Problem(
                "forbidden",
                f"The replicas of a shard of {name} have folders of their own, and what one writes the others would "
                "lack. Writes take replicas that serve one folder, or one replica a shard.",
            )
        why = "it serves no replica"
        for replica in sorted(known, key=lambda replica: (replica is not self._writer, not replica.up)):
            try:
                asked = replica.ask(method, path, content, headers + PASSED_ON.get())
                reply = await asyncio.wait_for(asked, max(0.0, until_s - time.perf_counter()))
            except TimeoutError:
                raise ShardSilent(f"{replica.address} did not answer in time", late=True) from None
            except Unanswered as error:
                replica.down(str(error))
                why = f"{replica.address}: {error}"
                continue
            if reply.status == 200:
                self._writer = replica
                return reply.content
            problem = problem_in(reply)
            if reply.status in _DENIED:
                raise Problem("forbidden", f"{replica.address} does not let the router write: {problem.detail}")
            if problem.code != "not-ready":  # which says that another one writes this log, or that this one ends
                raise problem
            why = f"{replica.address}: {problem.detail}"
        raise ShardSilent(why)


def _less_busy(replicas: Sequence[Replica]) -> Replica:
    drawn = random.sample(replicas, 2) if len(replicas) > 2 else random.sample(replicas, len(replicas))
    return min(drawn, key=lambda replica: replica.outstanding)


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
