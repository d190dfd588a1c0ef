"""How many documents hold what, among those that a filter keeps, or among the best of a query.

A facet may have a filter of its own instead of the request's. Facets with the same filter are counted over the same
documents, which are found once; so a query is encoded once and ranked as often as there are different filters.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
from msgspec import UNSET

from index import FieldError, FilterError, InputError
from index.facets import ranges, values
from index.facets.ranges import Range
from index.facets.values import Parts
from index.search.filtering import Between, Filter
from index.search.filtering import parse as parse_json
from service.access.caller import Caller
from service.query.admission import Deadline
from service.query.app_state import AppState, Here
from service.query.ranking import Ranking, Survivors
from service.query.resolving import NO_VECTOR, Resolved, resolve
from service.query.search import EVERYTHING, deadline_of, expect
from service.query.served_view import ServedView
from service.wire import answers, filters, limits, requests
from service.wire.answers import CountedRange, FacetCounts, FacetsAnswer, FacetValue, Usage
from service.wire.problems import Problem
from service.wire.requests import Facet, FacetRange, FacetsRequest

_EPOCH = np.datetime64(0, "us")


@dataclass
class _Documents:
    """What facets are counted over. keep: as `Searchable.parts` takes it."""

    keep: Any
    count: int


@dataclass
class _Counting:
    """One request under way; adds up what its searches cost."""

    view: ServedView
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
            return _Documents(kept.keep, kept.count(view))
        vector = None if query.mode == "lexical" else self.resolved.vector
        ranking = Ranking(view, query, vector, kept._replace(own=self.resolved.rows), self.deadline)
        found = await ranking.hits(query.k, None)
        self.scored += found.scored
        self.cpu_s += found.cpu_s
        rows = np.array([hit.row for hit in found.hits], np.int64)
        return _Documents(view.rows.only(rows), len(rows))

    def usage(self) -> Usage:
        resolved = self.resolved or Resolved(NO_VECTOR)
        cpu_ms = round((self.cpu_s + resolved.cpu_s) * 1e3, 4)
        return Usage(resolved.tokens, self.scored, cpu_ms, int(resolved.cached), resolved.encoder)


async def answer(state: AppState, here: Here, caller: Caller, index: str, body: bytes, start_s: float) -> bytes:
    """The JSON of a FacetsAnswer. Raises Problem."""
    asked = limits.decode(requests.FACETS, body)
    query = asked.ranked_by()
    if query is not None:
        requests.check(query)
    caller.charge(len(asked.facets) - 1)
    deadline = deadline_of(state, asked.timeout_ms, start_s)
    async with state.admission.place(deadline):
        with here.registry.loaded(index) as loaded:
            counting = _Counting(await loaded.view_at(asked.min_seq, deadline), asked, deadline)
            view, imposed = counting.view, filters.of_key(caller.filter)
            expect(asked.expect, view)
            filter_ = filters.conjoin(filters.parse(asked.filter), imposed)
            if query is not None:
                counting.resolved = await resolve(state, view, caller, query, deadline)
            whole = await counting.over(filter_)
            counted = []
            for place, facet in enumerate(asked.facets):
                try:
                    own = filter_
                    if facet.filter is not UNSET:
                        own = filters.conjoin(filters.parse(facet.filter), imposed)
                    counted.append(await _count(view, facet, await counting.over(own), deadline))
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
            return answers.encode(
                FacetsAnswer(
                    view.name,
                    view.id,
                    whole.count,
                    counted,
                    usage,
                    round((time.perf_counter() - start_s) * 1e3, 3),
                    view.seq,
                )
            )


async def _count(view: ServedView, facet: Facet, documents: _Documents, deadline: Deadline) -> FacetCounts:
    try:
        type_ = view.field_type(facet.field)
    except FieldError as error:
        raise Problem("filter-field-not-indexed", f"To count by it: {error}.", pointer="/field") from None
    if facet.ranges is not None and facet.step is not None:
        raise Problem("invalid-value", "A facet has ranges or a step, this one has both.", pointer="/step")
    by_range = facet.ranges is not None or facet.step is not None
    if by_range and type_ not in ("int", "float", "date"):
        raise Problem(
            "invalid-value",
            f"Ranges and steps are for int, float and date, and {facet.field!r} is {type_}.",
            pointer="/ranges" if facet.step is None else "/step",
        )
    given = [_range(view, facet.field, each, place) for place, each in enumerate(facet.ranges or ())]
    try:
        counted: FacetCounts = await view.look(deadline, _counts, view, facet, type_, given, documents)
        return counted
    except InputError as error:
        text = str(error)
        raise Problem("invalid-value", f"{text[0].upper()}{text[1:]}.", pointer="/step") from None


def _counts(view: ServedView, facet: Facet, type_: str, given: list[Range], documents: _Documents) -> FacetCounts:
    parts: Parts = view.rows.parts(documents.keep)
    found = FacetCounts(facet.field, type_, documents.count, values.count_present(parts, facet.field))
    if facet.ranges is None and facet.step is None:
        counted = values.count_values(parts, facet.field, facet.top)
        best = [FacetValue(_shown(value, type_), count) for value, count in counted.best]
        return msgspec.structs.replace(found, distinct=counted.distinct, values=best)
    held = values.kept_numbers(parts, facet.field)
    if facet.step is not None:
        steps = ranges.count_steps(held, type_, facet.step)
        return msgspec.structs.replace(found, ranges=[_step(each, count, type_) for each, count in steps])
    counts = zip(facet.ranges or (), ranges.count_ranges(held, given), strict=True)
    answered = [CountedRange(count, each.gt, each.gte, each.lt, each.lte) for each, count in counts]
    return msgspec.structs.replace(found, ranges=answered)


def _range(view: ServedView, name: str, given: FacetRange, place: int) -> Range:
    """A range of the request as its field compares it, checked as the condition of a filter that it is."""
    try:
        node = parse_json({"field": name, **msgspec.to_builtins(given)}).tree
        assert isinstance(node, Between)  # no other operator can be in it
        _, low, high, above, below = view.generation.filters.bounds(node)
    except (FieldError, FilterError) as error:
        problem = filters.problem_of(error)
        problem.pointer = f"/ranges/{place}{error.at}"
        raise problem from None
    return Range(low, high, above, below)


def _step(given: Range, count: int, type_: str) -> CountedRange:
    low, high = (None if bound is None else _shown(bound, type_) for bound in (given.low, given.high))
    return CountedRange(count, gte=low, lt=high if given.below else None, lte=None if given.below else high)


def _shown(value: Any, type_: str) -> Any:
    """A value as JSON has it, and a filter takes it."""
    if type_ != "date":
        return value
    whole, _, fraction = str(_EPOCH + np.timedelta64(value, "us")).partition(".")
    fraction = fraction.rstrip("0")
    return f"{whole}.{fraction}Z" if fraction else f"{whole}Z"
