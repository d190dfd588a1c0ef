"""A sharded index as a router knows it: what its shards say of themselves, as one."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any

import msgspec

from index import kernels
from index.search.filtering import undeclared
from index.search.finding import Effort
from service.access.caller import Caller
from service.query.admission import Deadline
from service.routing.scatter import Gathering
from service.routing.shard import RoutedShard
from service.routing.together import Looks
from service.routing.view import RoutedView
from service.wire import filters
from service.wire.answer.indexes import Bytes, FieldValue, FilterableField, IndexInfo, Kernels
from service.wire.default_search import DefaultSearch
from service.wire.problems import Problem
from service.wire.request.search import SearchRequest

COUNT_TIMEOUT_MS = 2000.0


class RoutedIndex:
    """One generation of it; another one is another object.

    Args:
        shards: in the order of their numbers.
        infos: of each.
        failures: name → why it is not complete.
        looks: at what waits for the shards, of all indexes.
        look_soon: called when a shard does not answer as it should, so that its replicas are looked at.
        count_partial: called for each answer without some of the shards.
    """

    def __init__(
        self,
        shards: Sequence[RoutedShard],
        infos: Sequence[IndexInfo],
        failures: Mapping[str, str],
        looks: Looks,
        look_soon: Callable[[], None],
        count_partial: Callable[[], None],
    ) -> None:
        first = infos[0]
        self.name, self.id, self.dim = first.alias, first.generation, first.dim
        self.model = None if first.model is None else first.model.id
        self.metric = first.metric
        self.integers = first.id_type != "str"
        self.shards = tuple(shards)
        self.said(infos)
        self._failures, self.looks, self.gathering = failures, looks, Gathering()
        self.look_soon, self.count_partial = look_soon, count_partial

    def said(self, infos: Sequence[IndexInfo]) -> None:
        """Takes what the shards say of themselves, in the order of their numbers."""
        self.infos, first = tuple(infos), infos[0].search
        self.count = sum(info.count for info in infos)
        self.codes = any(info.originals == "drop" for info in infos)  # any compares vectors as their codes restore them
        self.default_search: DefaultSearch | None = None  # of all shards, where it is the same
        if first is not None and all(info.search == first for info in infos):
            self.default_search = msgspec.convert(msgspec.to_builtins(first), DefaultSearch)

    def effort_of(self, effort: Effort | None) -> int:
        if effort is None or effort == "target":
            return max(info.default_effort if effort is None else info.target_effort for info in self.infos)
        return effort

    @property
    def etag(self) -> str:
        """Changes whenever the alias of a shard does."""
        return hashlib.sha256(" ".join(str(info.etag) for info in self.infos).encode()).hexdigest()[:16]

    @property
    def described(self) -> str:
        replicas = [len(shard.replicas) for shard in self.shards]
        return f"{len(replicas)} shards with {sum(replicas)} replicas" if sum(replicas) > 1 else "1 shard"

    def field_type(self, name: str) -> str:
        """Of a declared field; raises FieldError for another."""
        fields = self.infos[0].filterable
        if name not in fields:
            raise undeclared(name, {field: each.type for field, each in fields.items()})
        return fields[name].type

    async def view_at(self, min_seq: int | None, deadline: Deadline) -> RoutedView:
        return RoutedView(self, min_seq)

    async def view_for(self, query: SearchRequest, deadline: Deadline) -> RoutedView:
        return RoutedView(self, query.min_seq, None, query)

    def __enter__(self) -> RoutedIndex:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is held: what is searched lies elsewhere."""

    async def info(self, caller: Caller) -> IndexInfo:
        infos, first = self.infos, self.infos[0]
        count, imposed = self.count, filters.of_key(caller.filter)
        if imposed is not None:
            deadline = Deadline(COUNT_TIMEOUT_MS, time.perf_counter())
            view = RoutedView(self)
            keep = await view.survivors(imposed, deadline)
            assert keep is not None  # there is a filter
            try:
                count = await view.counted(keep, deadline)
            except Problem:
                count = 0
        here: dict[str, Any] = kernels.info()
        measured = [info.recall for info in infos]
        return IndexInfo(
            alias=self.name,
            generation=self.id,
            previous=first.previous if len({info.previous for info in infos}) == 1 else None,
            etag=self.etag,
            count=count,
            dim=self.dim,
            metric=first.metric,
            family=first.family if len({info.family for info in infos}) == 1 else "mixed",
            default_effort=self.effort_of(None),
            target_effort=self.effort_of("target"),
            model=first.model,
            # The least of the shards: what all of them find together is at least as much.
            recall=min((each for each in measured if each is not None), key=lambda each: each.low, default=None)
            if None not in measured
            else None,
            modes=first.modes,
            filterable={
                name: _merged([info.filterable[name] for info in infos])
                if imposed is None
                else FilterableField(field.type)
                for name, field in first.filterable.items()
            },
            bytes=Bytes(
                sum(info.bytes.files for info in infos),
                sum(info.bytes.memory for info in infos),
                max(info.bytes.vector for info in infos),
            ),
            kernels=Kernels(here["arch"], here["isa"], here["units"]),
            built_at=max(info.built_at for info in infos),
            refused=self._failures.get(self.name),
            written_since=sum(info.written_since for info in infos) if imposed is None else 0,
            unweighed=sum(info.unweighed for info in infos) if imposed is None else 0,
            id_type=first.id_type,
            search=None if self.default_search is None else first.search,
            replicas=[len(shard.replicas) for shard in self.shards],
            originals="drop" if self.codes else "keep",
        )


def _merged(fields: Sequence[FilterableField]) -> FilterableField:
    """What the shards say of one field, as one. Values are counted where every shard has named all of its own."""
    present = [field.present or 0 for field in fields]
    low: list[Any] = [field.min for field in fields if field.min is not None]
    high: list[Any] = [field.max for field in fields if field.max is not None]
    counts = Counter[str | bool]()
    for field in fields:
        for each in field.values or ():
            counts[each.value] += each.count
    named = all(field.values is not None and field.distinct in (None, len(field.values)) for field in fields)
    most = list(counts.items())
    if fields[0].distinct is not None:  # else true and false, in their order
        most.sort(key=lambda pair: (-pair[1], str(pair[0])))
    return FilterableField(
        fields[0].type,
        present=sum(present),
        distinct=len(counts) if named and fields[0].distinct is not None else None,
        values=[FieldValue(value, count) for value, count in most] if named else None,
        min=min(low, default=None),
        max=max(high, default=None),
    )
