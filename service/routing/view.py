"""What one request searches behind a router: all shards as if they were one index.

Every question goes to all shards at once, and the lists that come back are merged (`index/shards/merge.py`), before
anything is fused, grouped or cut into pages (`query/ranking.py`, which knows nothing of shards).
"""

from __future__ import annotations

import asyncio
import binascii
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol, TypeVar

import msgspec
import numpy as np
from msgspec import Raw

from index import TopK
from index.search.filtering import Filter
from index.search.words import Matched
from index.shards.merge import merge
from index.shards.plan import shard_of
from service.access.caller import Caller
from service.query.admission import Deadline
from service.query.highlight import Fragments
from service.query.searched import Matching, Searched, Vectors
from service.routing.rows import RoutedRows, RoutedSurvivors
from service.routing.shard import RoutedShard, ShardSilent
from service.wire import limits, parts
from service.wire.parts import PartAnswer, PartRequest, Without
from service.wire.problems import Problem
from service.wire.requests import Highlight, SearchRequest

T = TypeVar("T")
PARTIAL_SHARE = 0.9  # of the time left, after which a shard is done without where that is allowed
_OBJECT = msgspec.json.Decoder(dict[str, Raw])
_NOTHING = Raw(b"{}")


class Shards(Protocol):
    """What a view has to know of the index: `whole.py` describes it."""

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
    def field_type(self, name: str) -> str: ...


class RoutedView:
    """One request's, or what several queries of a batch have in common."""

    page_rows = 1
    fitted = None  # each shard may have one of its own, and all vectors of a query have to be the same
    seq = 0

    def __init__(self, index: Shards, rows: RoutedRows | None = None) -> None:
        self._index = index
        self.name, self.id, self.dim, self.model = index.name, index.id, index.dim, index.model
        self.metric = index.metric
        self.count = self.reach = index.count
        self.rows = RoutedRows(index.integers) if rows is None else rows
        self.answered: tuple[int | None, int | None] = len(index.shards), len(index.shards)
        self._fields: list[str] | None = None
        self._payloads = 0
        self._value: str | None = None
        self._allow_partial = False
        self._compared_all = True

    def asking(self, *queries: SearchRequest) -> RoutedView:
        """The view of queries that are searched for together: what they need comes with their hits."""
        view = RoutedView(self._index, self.rows)
        first = queries[0]
        if all(query.fields == first.fields for query in queries):
            view._fields = first.fields
        if first.mode != "hybrid" and first.group_by is None and first.cursor is None:
            view._payloads = max(
                query.k + (query.id is not None) + len(query.ids or ()) + len(query.not_ids or ()) for query in queries
            )
        view._value = first.group_by
        view._allow_partial = all(query.allow_partial for query in queries)
        return view

    def as_of(self, rows: int, keep: RoutedSurvivors | None) -> tuple[RoutedView, RoutedSurvivors | None]:
        return self, keep

    def page_mark(self, row: int) -> tuple[int, str]:
        return 0, self.rows.external_id(row)

    def page_order(self, row: int, id_: str) -> Any:
        return self.rows.order_of(id_)

    def field_type(self, name: str) -> str:
        return self._index.field_type(name)

    def compares_all(self, exact: bool, keep: Any = None, effort: int | None = None) -> bool:
        """Whether every shard that was asked for vectors did."""
        return self._compared_all

    async def both(self, one: Awaitable[T], other: Awaitable[T]) -> tuple[T, T]:
        return await asyncio.gather(one, other)

    async def survivors(self, filter_: Filter | None, deadline: Deadline) -> RoutedSurvivors | None:
        """What is known before any shard was asked: the filters."""
        return None if filter_ is None else RoutedSurvivors(filter_.key.split(b"\0"))

    def without_groups(
        self,
        filter_: Filter | None,
        keep: RoutedSurvivors | None,
        name: str,
        values: Sequence[Any],
        alone: Sequence[int],
    ) -> tuple[Filter | None, RoutedSurvivors]:
        ids = [self.rows.external_id(row) for row in alone]
        return filter_, RoutedSurvivors(keep.filters if keep else (), Without(name, list(values), ids))

    async def search(
        self,
        vectors: Vectors,
        k: int,
        effort: int | None,
        exact: bool,
        deadline: Deadline,
        keep: RoutedSurvivors | None = None,
    ) -> Searched:
        asked = self._asked(k, keep)
        asked.queries, asked.effort, asked.exact = len(vectors), effort, exact
        raw = np.ascontiguousarray(vectors, "<f4").tobytes()
        asked.vectors = binascii.b2a_base64(raw, newline=False).decode()
        said = await self._all(asked, deadline, keep)
        self._compared_all = self._compared_all and all(part.exact for part in said)
        found = TopK(
            np.full((len(vectors), k), -1, np.int64),
            np.full((len(vectors), k), -np.inf, np.float32),
            np.zeros(len(vectors), np.int64),
        )
        for query in range(len(vectors)):
            best = merge([self.rows.take(part.dense[query]) for part in said], k, self.rows.order)
            found.rows[query, : len(best.rows)], found.scores[query, : len(best.rows)] = best
            found.scored[query] = sum(part.dense[query].scored for part in said)
        return Searched(found, sum(part.cpu_ms for part in said) / 1e3)

    async def search_words(
        self,
        text: str,
        k: int,
        filter_: Filter | None,
        exact: bool,
        deadline: Deadline,
        keep: RoutedSurvivors | None = None,
    ) -> Matching:
        asked = self._asked(k, keep)
        asked.text, asked.exact = text, exact
        said = await self._all(asked, deadline, keep)
        best = merge([self.rows.take(part.lexical) for part in said if part.lexical], k, self.rows.order)
        return Matching(Matched(best.rows, best.scores), sum(part.cpu_ms for part in said) / 1e3)

    async def document(
        self, id_: str, caller: Caller, deadline: Deadline, keep: RoutedSurvivors | None = None
    ) -> int | None:
        """Brings a document that the caller may see here, with its vector; None where there is none."""
        imposed = [] if caller.filter is None else [msgspec.json.encode(caller.filter)]
        asked = PartRequest(
            documents=[id_], vectors_of=True, fields=self._fields, filters=[Raw(raw) for raw in imposed]
        )
        (said,) = await self._some({self._owner(id_): asked}, deadline)
        if not said.documents or not said.documents[0].survives:
            return None
        row = self.rows.take_document(said.documents[0])
        if keep is not None:
            asked.filters = [Raw(raw) for raw in keep.filters]
            (said,) = await self._some({self._owner(id_): asked}, deadline)
            if said.documents and said.documents[0].survives:
                keep.held.add(row)
        return row

    async def bring(self, rows: Sequence[int], deadline: Deadline) -> None:
        """Payloads of rows that have none yet; an empty one of a document that was deleted since it was found."""
        missing = defaultdict[int, list[str]](list)
        for row in rows:
            if row not in self.rows.payloads:
                id_ = self.rows.external_id(row)
                missing[self._owner(id_)].append(id_)
        asked = {number: PartRequest(documents=ids, fields=self._fields) for number, ids in missing.items()}
        for said in await self._some(asked, deadline):
            for document in said.documents:
                self.rows.take_document(document)
        for row in rows:
            self.rows.payloads.setdefault(row, _NOTHING)

    def highlights(self, text: str, asked: Highlight, ids: Sequence[str]) -> list[Fragments]:
        raise Problem(
            "invalid-value",
            "A router does not know how the words of its shards were indexed, and highlights none; ask an index in one "
            "piece.",
            pointer="/highlight",
        )

    def payload(self, row: int, fields: list[str] | None) -> Raw:
        payload = self.rows.payloads[row]
        if fields == self._fields:
            return payload
        there = _OBJECT.decode(payload)
        return Raw(msgspec.json.encode({name: there[name] for name in fields or () if name in there}))

    async def counted(self, keep: RoutedSurvivors, deadline: Deadline) -> int:
        """Documents that filters keep."""
        await self._all(self._asked(1, keep), deadline, keep)
        return keep.count

    def _asked(self, k: int, keep: RoutedSurvivors | None) -> PartRequest:
        return PartRequest(
            k=min(k, limits.PART_ROWS),
            filters=[] if keep is None else [Raw(raw) for raw in keep.filters],
            without=None if keep is None else keep.without,
            payloads=self._payloads,
            fields=self._fields,
            value=self._value,
        )

    def _owner(self, id_: str) -> int:
        return shard_of(id_, len(self._index.shards))

    async def _all(self, asked: PartRequest, deadline: Deadline, keep: RoutedSurvivors | None) -> list[PartAnswer]:
        """What every shard says, or what those say that answer, where that is allowed."""
        said = await self._some(dict.fromkeys(range(len(self._index.shards)), asked), deadline)
        self.count = sum(part.count for part in said)
        if keep is not None:
            keep.count = sum(part.survivors for part in said)
        return said

    async def _some(self, asked: dict[int, PartRequest], deadline: Deadline) -> list[PartAnswer]:
        left_s = deadline.left_s() * (PARTIAL_SHARE if self._allow_partial else 1.0)
        until_s = time.perf_counter() + left_s
        contents: dict[int, bytes] = {}  # of requests that are the same for all shards, once

        def content(request: PartRequest) -> bytes:
            known = contents.get(id(request))
            if known is None:
                request.timeout_ms = max(1, min(limits.TIMEOUT_MS, int(left_s * 1e3)))
                known = contents[id(request)] = msgspec.json.encode(request)
            return known

        shards, about = self._index.shards, (self._index.name, self._index.id)
        replies = await asyncio.gather(
            *(shards[number].ask(*about, content(request), until_s) for number, request in asked.items()),
            return_exceptions=True,
        )
        said, silent = [], dict[int, ShardSilent]()
        for number, reply in zip(asked, replies, strict=True):
            if isinstance(reply, ShardSilent):
                silent[number] = reply
            elif isinstance(reply, BaseException):
                raise reply
            else:
                said.append(parts.PART_ANSWER.decode(reply))
        if silent:
            self._missing(silent, len(said), deadline)
        return said

    def _missing(self, silent: dict[int, ShardSilent], answered: int, deadline: Deadline) -> None:
        """Raises Problem where an answer without these shards will not do."""
        shards = len(self._index.shards)
        self._index.look_soon()
        if self._allow_partial and answered:
            self._index.count_partial()
            self.answered = shards, min(self.answered[1] or 0, shards - len(silent))
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
