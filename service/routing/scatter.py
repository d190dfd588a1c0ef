"""Asking the shards of one request: all at once, until its deadline, and what it means that one does not answer."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Protocol

import msgspec

from index.search.finding import Effort
from service.query.admission import Deadline
from service.routing.asking import ShardSilent, Together
from service.routing.rows import RoutedRows
from service.routing.shard import RoutedShard
from service.wire import limits, parts
from service.wire.parts import PartAnswer, PartRequest
from service.wire.problems import Problem

PARTIAL_SHARE = 0.9  # of the time left, after which a shard is done without where that is allowed


class Shards(Protocol):
    """What a request has to know of the index: `whole.py` describes it."""

    name: str
    id: str
    dim: int
    metric: str
    model: str | None
    integers: bool
    shards: tuple[RoutedShard, ...]
    look_soon: Callable[[], None]
    count_partial: Callable[[], None]

    @property
    def count(self) -> int: ...
    @property
    def codes(self) -> bool: ...
    def effort_of(self, effort: Effort | None) -> int: ...
    def field_type(self, name: str) -> str: ...


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

    async def all(self, asked: PartRequest, deadline: Deadline) -> list[PartAnswer]:
        """What every shard says, or what those say that answer, where that is allowed."""
        shards = len(self._index.shards)
        said = await self.some(dict.fromkeys(range(shards), asked), deadline)
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
        left_s = deadline.left_s() * (PARTIAL_SHARE if self._allow_partial else 1.0)
        until_s = time.perf_counter() + left_s
        contents: dict[int, bytes] = {}  # of requests that are the same for all shards, once

        def content(request: PartRequest) -> bytes:
            known = contents.get(id(request))
            if known is None:
                request.timeout_ms = max(1, min(limits.TIMEOUT_MS, int(left_s * 1e3)))
                request.current = self.min_seq is not None
                known = contents[id(request)] = msgspec.json.encode(request)
            return known

        index, together = self._index, Together()
        asking = {
            number: index.shards[number].ask(index.name, index.id, content(request), until_s, together)
            for number, request in asked.items()
        }
        await together.wait(list(asking.values()))
        said, silent = [], dict[int, ShardSilent]()
        for number, each in asking.items():
            answer = each.answer
            assert answer is not None  # it was waited for
            if isinstance(answer, bytes):
                part = parts.PART_ANSWER.decode(answer)
                self._rows.seq = max(self._rows.seq, part.seq)
                said.append(part)
            elif isinstance(answer, ShardSilent):
                silent[number] = answer
            else:
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
