"""How many documents hold what, among those that a filter keeps, or among the best of a query.

A facet may have a filter of its own instead of the request's. Facets with the same filter are counted over the same
documents, which are found once; so a query is encoded once and ranked as often as there are different filters.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from msgspec import UNSET

from index.search.filtering import Filter
from service.access.caller import Caller
from service.query.admission import Deadline
from service.query.app_state import AppState
from service.query.ranked.ranking import Ranking, Survivors
from service.query.resolving import NO_VECTOR, Resolved, resolve
from service.query.search import EVERYTHING, deadline_of, expect
from service.query.searched import SearchView
from service.routing.counting import counted
from service.wire import filters, limits
from service.wire.answer.facets import FacetsAnswer
from service.wire.answer.search import Usage
from service.wire.encoding import encode
from service.wire.problems import Problem
from service.wire.request.facets import FACETS, FacetsRequest
from service.wire.request.search import check_search


@dataclass
class _Documents:
    """What facets are counted over: what a filter keeps, or rows, the best of a query. count: how many that is."""

    keep: Any
    best: Sequence[int] | None
    count: int


@dataclass
class _Counting:
    """One request under way; adds up what its searches cost."""

    view: SearchView
    asked: FacetsRequest
    deadline: Deadline
    resolved: Resolved | None = None
    scored: int = 0
    cpu_s: float = 0.0
    documents: dict[bytes | None, _Documents] = field(default_factory=dict)

    async def over(self, filter_: Filter | None) -> _Documents:
        """The documents that a filter keeps, or the best k of them."""
        key = None if filter_ is None else filter_.key
        known = self.documents.get(key)
        if known is None:
            known = self.documents[key] = await self._over(filter_)
        return known

    async def _over(self, filter_: Filter | None) -> _Documents:
        view, query = self.view, self.asked.ranked_by()
        kept = EVERYTHING if filter_ is None else Survivors(filter_, await view.survivors(filter_, self.deadline))
        if query is None or self.resolved is None:
            return _Documents(kept.keep, None, await view.counted(kept.keep, self.deadline))
        vector = None if query.mode in ("lexical", "sparse") else self.resolved.vector
        ranking = Ranking(view, query, vector, kept._replace(own=self.resolved.rows), self.deadline)
        found = await ranking.hits(query.k, None)
        self.scored += found.scored
        self.cpu_s += found.cpu_s
        return _Documents(None, [hit.row for hit in found.hits], len(found.hits))

    def usage(self) -> Usage:
        resolved = self.resolved or Resolved(NO_VECTOR)
        cpu_ms = round((self.cpu_s + resolved.cpu_s) * 1e3, 4)
        return Usage(resolved.tokens, self.scored, cpu_ms, int(resolved.cached), resolved.encoder)


async def answer(state: AppState, caller: Caller, index: str, body: bytes, start_s: float) -> bytes:
    """The JSON of a FacetsAnswer. Raises Problem."""
    asked = limits.decode(FACETS, body)
    query = asked.ranked_by()
    if query is not None:
        check_search(query)
    caller.charge(len(asked.facets) - 1)
    deadline = deadline_of(state, asked.timeout_ms, start_s)
    async with state.admission.place(deadline):
        with state.registry.loaded(index) as loaded:
            counting = _Counting(await loaded.view_at(asked.min_seq, deadline), asked, deadline)
            view, imposed = counting.view, filters.of_key(caller.filter)
            expect(asked.expect, view)
            filter_ = filters.conjoin(filters.parse(asked.filter), imposed)
            if query is not None:
                counting.resolved = await resolve(state, view, caller, query, deadline)
            whole = await counting.over(filter_)
            found = []
            for place, facet in enumerate(asked.facets):
                try:
                    own = filter_
                    if facet.filter is not UNSET:
                        own = filters.conjoin(filters.parse(facet.filter), imposed)
                    over = await counting.over(own)
                    found.append(await counted(view, facet, over.keep, over.best, over.count, deadline))
                except Problem as problem:
                    if problem.pointer is not None:  # of a query that is the same for all facets there is none left
                        problem.pointer = f"/facets/{place}{problem.pointer}"
                    raise
                deadline.check()
            usage = counting.usage()
            state.count(
                caller,
                queries=1,
                tokens=usage.tokens,
                vectors_scored=usage.vectors_scored,
                cpu_s=usage.cpu_ms / 1e3,
            )
            return encode(
                FacetsAnswer(
                    view.name,
                    view.id,
                    whole.count,
                    found,
                    usage,
                    round((time.perf_counter() - start_s) * 1e3, 3),
                    view.seq,
                )
            )
