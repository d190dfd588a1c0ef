"""Asking the shards of one request, or of several that came at once: all shards together, until the deadline, and what
it means that one does not answer."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import NamedTuple, Protocol

import msgspec
import numpy as np

from index.search.finding import Effort
from service.query.admission import Deadline
from service.query.searched import Vectors
from service.routing.asking import Asking, ShardSilent
from service.routing.replica import ShardRequest
from service.routing.rows import RoutedRows
from service.routing.shard import RoutedShard
from service.routing.together import Looks, Together, Turn
from service.telemetry.tracing import PASSED_ON
from service.wire import limits, parts
from service.wire.encoding import encode
from service.wire.parts import PartAnswer, PartRequest
from service.wire.problems import Problem
from service.wire.request.vectors import packed

MOST_AT_ONCE = 16  # searches in one request: a millisecond of a shard's work or two
PARTIAL_SHARE = 0.9  # of the time left, after which a shard is done without where that is allowed


class Shards(Protocol):
    """What a request has to know of the index: `whole.py` describes it."""

    name: str
    id: str
    dim: int
    metric: str
    model: str | None
    integers: bool
    codes: bool
    shards: tuple[RoutedShard, ...]
    looks: Looks
    gathering: Gathering
    look_soon: Callable[[], None]
    count_partial: Callable[[], None]

    @property
    def count(self) -> int: ...
    def effort_of(self, effort: Effort | None) -> int: ...
    def field_type(self, name: str) -> str: ...


class NearAnswers(NamedTuple):
    """
    Args:
        said: by shards of the vectors of one search or more.
        first: which of them is the first of this search.
        searches: that share what it cost.
    """

    said: list[PartAnswer]
    first: int
    searches: int


def request_of(index: Shards, asked: PartRequest, left_s: float) -> ShardRequest:
    asked.timeout_ms = max(1, min(limits.TIMEOUT_MS, int(left_s * 1e3)))
    return ShardRequest("POST", f"/v1/indexes/{index.id}/part", encode(asked), PASSED_ON.get())


class Burst:
    """Searches that are asked in one request to each shard. asking: of each shard, once they are."""

    def __init__(self, index: Shards, asked: PartRequest) -> None:
        self._index, self._asked = index, asked
        self._vectors: list[Vectors] = []
        self._turns: list[Turn] = []
        self._waiting = 0
        self._until_s = math.inf
        self._together: Together | None = None
        self._said: list[PartAnswer] | None = None
        self.asking: Sequence[Asking] = ()

    @property
    def searches(self) -> int:
        return len(self._turns)

    async def wait(self, vector: Vectors, until_s: float) -> int:
        """The place of a vector among all, once they are answered."""
        turn, place = Turn(), len(self._turns)
        self._turns.append(turn)
        self._vectors.append(vector)
        self._until_s = min(self._until_s, until_s)
        self._waiting += 1
        try:
            await turn
        except BaseException:
            self._waiting -= 1
            if not self._waiting and self._together is not None:
                self._together.cancel()
            raise
        return place

    def send(self) -> None:
        if not self._waiting:
            return
        index, asked, now_s = self._index, self._asked, time.perf_counter()
        asked.queries = len(self._vectors)
        asked.vectors = packed(self._vectors[0] if asked.queries == 1 else np.concatenate(self._vectors))
        request = request_of(index, asked, self._until_s - now_s)
        self._together = together = Together(index.looks)
        self.asking = [
            shard.ask(index.name, index.id, request, now_s, self._until_s, together) for shard in index.shards
        ]
        together.begin(self.asking, self._over)

    def said(self) -> list[PartAnswer] | None:
        """What all shards say; None where one of them does not answer, or refuses it."""
        if self._said is None:
            contents = [each.answer for each in self.asking if isinstance(each.answer, bytes)]
            if len(contents) == len(self.asking):
                self._said = [parts.PART_ANSWER.decode(content) for content in contents]
        return self._said

    @property
    def refused(self) -> bool:
        return any(isinstance(each.answer, Problem) for each in self.asking)

    @property
    def late(self) -> bool:
        return any(isinstance(each.answer, ShardSilent) and each.answer.late for each in self.asking)

    def _over(self) -> None:
        for turn in self._turns:
            turn.end()


class Gathering:
    """Searches of an index that came in the present turn of the loop. A lone one is asked in the next turn, and so
    hardly later; under load requests come in bursts, and each shard is asked once for several of them."""

    def __init__(self) -> None:
        self._open: dict[Hashable, Burst] = {}

    def of(self, index: Shards, asked: PartRequest, left_s: float) -> Burst:
        """Where a search belongs that asks for one vector; `asked` is used for all of them. Those that share a request
        have about as much time, none half of another's: when one is late, the others have to ask again."""
        fields = None if asked.fields is None else tuple(asked.fields)
        alike = asked.k, asked.effort, asked.exact, asked.payloads, fields, math.frexp(left_s)[1]
        burst = self._open.get(alike)
        if burst is None or burst.searches >= MOST_AT_ONCE:
            burst = self._open[alike] = Burst(index, msgspec.structs.replace(asked))
            asyncio.get_running_loop().call_soon(self._send, alike, burst)
        return burst

    def _send(self, alike: Hashable, burst: Burst) -> None:
        if self._open.get(alike) is burst:
            del self._open[alike]
        burst.send()


class Scatter:
    """
    Args:
        rows: where the largest seq is noted.
        min_seq: of a write that has to be searched. Seqs of different shards do not compare, so each of them applies
            all that was written to it before it answers.
        allow_partial: an answer without some of the shards will do.
    """

    def __init__(self, index: Shards, rows: RoutedRows, min_seq: int | None, allow_partial: bool = False) -> None:
        self._index, self._rows, self.min_seq = index, rows, min_seq
        self._allow_partial = allow_partial
        self.answered = len(index.shards)

    async def near(self, asked: PartRequest, vectors: Vectors, deadline: Deadline) -> NearAnswers:
        """What every shard finds near vectors, as `all`. A single one is asked for together with those of other
        searches that came in the same turn of the loop and differ in nothing else."""
        asked.queries = len(vectors)
        beside = asked.filters or asked.without is not None or asked.value is not None or self.min_seq is not None
        if beside or len(vectors) > 1 or PASSED_ON.get():
            return await self._alone(asked, vectors, deadline)
        left_s = self._left_s(deadline)
        until_s = time.perf_counter() + left_s
        burst = self._index.gathering.of(self._index, asked, left_s)
        place = await burst.wait(vectors, until_s)
        said = burst.said()
        if said is None:
            # One of them may be at fault, or had less time, and must not fail its neighbours.
            if burst.searches > 1 and (burst.refused or (burst.late and time.perf_counter() < until_s)):
                return await self._alone(asked, vectors, deadline)
            said = self._said([*range(len(burst.asking))], burst.asking, deadline)
        for part in said:
            self._rows.seq = max(self._rows.seq, part.seq)
        return NearAnswers(said, place, burst.searches)

    async def _alone(self, asked: PartRequest, vectors: Vectors, deadline: Deadline) -> NearAnswers:
        asked.vectors, asked.queries = packed(vectors), len(vectors)
        return NearAnswers(await self.all(asked, deadline), 0, 1)

    async def all(self, asked: PartRequest, deadline: Deadline) -> list[PartAnswer]:
        """What every shard says, or what those say that answer, where that is allowed."""
        shards, left_s = len(self._index.shards), self._left_s(deadline)
        request = self._request(asked, left_s)
        said = await self._ask([(number, request) for number in range(shards)], left_s, deadline)
        seq = self._rows.seq
        if self.min_seq is not None and seq < self.min_seq and len(said) == shards:
            raise Problem(
                "precondition-failed",
                f"There is no write {self.min_seq:,} here, the last is {seq:,}; min_seq is a seq that a write gave.",
                pointer="/min_seq",
                seq=seq,
            )
        return said

    async def some(self, asked: Mapping[int, PartRequest], deadline: Deadline) -> list[PartAnswer]:
        """As `all`, of the shards with these numbers, each with a request of its own."""
        left_s = self._left_s(deadline)
        requests = [(number, self._request(request, left_s)) for number, request in asked.items()]
        return await self._ask(requests, left_s, deadline)

    def _left_s(self, deadline: Deadline) -> float:
        return deadline.left_s() * (PARTIAL_SHARE if self._allow_partial else 1.0)

    def _request(self, asked: PartRequest, left_s: float) -> ShardRequest:
        asked.current = self.min_seq is not None
        return request_of(self._index, asked, left_s)

    async def _ask(
        self, requests: Sequence[tuple[int, ShardRequest]], left_s: float, deadline: Deadline
    ) -> list[PartAnswer]:
        index = self._index
        shards, name, id_, together = index.shards, index.name, index.id, Together(index.looks)
        now_s = time.perf_counter()
        until_s = now_s + left_s
        asking = [shards[number].ask(name, id_, request, now_s, until_s, together) for number, request in requests]
        await together.wait(asking)
        return self._said([number for number, _ in requests], asking, deadline)

    def _said(self, numbers: Sequence[int], asking: Sequence[Asking], deadline: Deadline) -> list[PartAnswer]:
        said, silent, rows = [], dict[int, ShardSilent](), self._rows
        for number, each in zip(numbers, asking, strict=True):
            answer = each.answer
            if isinstance(answer, bytes):
                part = parts.PART_ANSWER.decode(answer)
                if part.seq > rows.seq:
                    rows.seq = part.seq
                said.append(part)
            elif isinstance(answer, ShardSilent):
                silent[number] = answer
            else:
                assert answer is not None  # it was waited for
                raise answer
        if silent:
            self._missing(silent, len(said), deadline)
        return said

    def _missing(self, silent: Mapping[int, ShardSilent], answered: int, deadline: Deadline) -> None:
        """Raises Problem where an answer without these shards will not do."""
        shards = len(self._index.shards)
        self._index.look_soon()
        if self._allow_partial and answered:
            self._index.count_partial()
            self.answered = min(self.answered, shards - len(silent))
            return
        if all(each.late for each in silent.values()):
            raise deadline.problem()
        number, why = next((number, each) for number, each in silent.items() if not each.late)
        raise Problem(
            "not-ready",
            f"Shard {number} of {shards} does not answer ({why}). Try again, or take what the others have with "
            "allow_partial.",
            shards=shards,
            answered=shards - len(silent),
        )
