"""Many queries in one request: encoded together, searched together where their parameters agree.

A query that is malformed, names a missing document or exceeds its time limit gets a problem object in its place; the
others are answered. The request itself fails only for what concerns it as a whole: its size, its JSON, its index.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from index.search.finding import Effort
from service.access.caller import Caller
from service.query.admission import Deadline
from service.query.app_state import AppState
from service.query.batcher import WINDOW_TEXTS
from service.query.ranked.paging import rank
from service.query.ranked.ranking import Survivors
from service.query.resolving import Resolved, effort_of, resolve, wanted
from service.query.results import marked, result_of, result_of_ranked
from service.query.search import Answered, Stages, deadline_of, expect, is_plain, observe, survivors
from service.query.searched import LoadedIndex, SearchView
from service.wire import limits
from service.wire.answer.search import BatchAnswer, BatchFailure, BatchResult, Usage, sum_of
from service.wire.encoding import encode
from service.wire.problems import Problem
from service.wire.request.search import BATCH, SEARCH, BatchRequest, SearchRequest, check_search

TURN_S = 2e-3  # of work on the event loop, a delay that nobody notices


class _Asked(NamedTuple):
    """One query of the batch that is still in the running. place: where its result belongs."""

    place: int
    query: SearchRequest
    deadline: Deadline
    resolved: Resolved
    kept: Survivors


async def answer(state: AppState, caller: Caller, index: str, body: bytes, start_s: float) -> Answered:
    """The answer to the batch in `body`; parameters and errors are those of `search.answer`."""
    batch = limits.decode(BATCH, body)
    caller.charge(len(batch.queries) - 1)
    deadline = deadline_of(state, batch.timeout_ms, start_s)
    results: list[BatchResult | BatchFailure | None] = [None] * len(batch.queries)
    async with state.admission.place(deadline):
        with state.registry.loaded(index) as loaded:
            view = await loaded.view_at(batch.min_seq, deadline)
            embed_s = time.perf_counter()
            asked = await _resolve_all(state, loaded, view, caller, batch, deadline, start_s, results)
            deadline.check()
            ann_s = time.perf_counter()
            payload_s = await _search_all(state, view, asked, deadline, results)
            end_s = time.perf_counter()
            deadline.check()
            done = [result for result in results if result is not None]
            usage = _sum(done)
            took_ms = round((end_s - start_s) * 1e3, 3)
            content = encode(BatchAnswer(view.name, view.id, view.model, done, usage, took_ms, view.seq))
    stages = Stages(0.0, ann_s - embed_s, end_s - ann_s - payload_s, 0.0, payload_s)
    observe(state, caller, sum(isinstance(result, BatchResult) for result in done), usage, stages)
    return Answered(content, stages, usage, view.id)


async def _resolve_all(
    state: AppState,
    loaded: LoadedIndex,
    view: SearchView,
    caller: Caller,
    batch: BatchRequest,
    deadline: Deadline,
    start_s: float,
    results: list[BatchResult | BatchFailure | None],
) -> list[_Asked]:
    """Decodes every query and finds its vector; the ones that fail get their problem in
    `results`."""

    async def one(place: int, body: bytes) -> _Asked | None:
        try:
            query = limits.decode(SEARCH, body)
            check_search(query)
            query = state.asked(loaded, query)
            if query.min_seq is not None:
                raise Problem("invalid-value", "min_seq is for the batch and not for one query.", pointer="/min_seq")
            expect(query.expect, view)
            own = deadline
            if query.timeout_ms is not None and query.timeout_ms < deadline.timeout_ms:
                own = Deadline(query.timeout_ms, start_s)
            kept = await survivors(view, caller, query, own)
            return _Asked(place, query, own, await resolve(state, view, caller, query, own, kept.keep), kept)
        except Problem as problem:
            results[place] = BatchFailure(problem.as_dict())
            return None

    # In windows, as every bulk caller of the batcher: one query of somebody else waits for one
    # window at most.
    asked: list[_Asked | None] = []
    bodies = [bytes(query) for query in batch.queries]
    for start in range(0, len(bodies), WINDOW_TEXTS):
        window = enumerate(bodies[start : start + WINDOW_TEXTS], start)
        asked += await asyncio.gather(*(one(place, body) for place, body in window))
    return [one_asked for one_asked in asked if one_asked is not None]


async def _search_all(
    state: AppState,
    view: SearchView,
    asked: Iterable[_Asked],
    deadline: Deadline,
    results: list[BatchResult | BatchFailure | None],
) -> float:
    """Searches the queries that ask for the same k, effort and filter as one matrix; returns seconds spent
    on payloads."""
    turn_s = time.perf_counter()
    alike: defaultdict[tuple[int, Effort | None, bool, int, bool], list[_Asked]] = defaultdict(list)
    payload_s = 0.0
    for one in asked:
        turn_s = await _in_turn(turn_s)
        if not is_plain(one.query):
            payload_s += await _search_one(state, view, one, results)
            continue
        # The same filter comes to the same bitmap, which its query keeps alive.
        how = wanted(one.query, one.resolved), *effort_of(one.query)
        alike[(*how, id(one.kept.keep), one.query.allow_partial)].append(one)
    served = view
    for (k, effort, exact, *_), group in alike.items():
        turn_s = await _in_turn(turn_s)
        view = served.asking(*(one.query for one in group))
        keep = group[0].kept.keep
        vectors = np.stack([one.resolved.vector for one in group])
        try:
            searched = await view.search(vectors, k, effort, exact, deadline, keep)
        except Problem as problem:
            if problem.code == "deadline-exceeded":
                raise
            if len(group) == 1:
                results[group[0].place] = BatchFailure(problem.as_dict())
            else:  # one vector that cannot be ranked must not fail its neighbours
                for one in group:
                    payload_s += await _search_all(state, served, [one], deadline, results)
            continue
        start_s = time.perf_counter()
        cpu_s = searched.cpu_s / len(group)
        for at, one in enumerate(group):
            turn_s = await _in_turn(turn_s)
            try:
                one.deadline.check()
                result = result_of(view, one.query, one.resolved, keep, *searched.of(at), cpu_s)
                results[one.place] = await marked(view, one.query, result, one.deadline)
            except Problem as problem:
                results[one.place] = BatchFailure(problem.as_dict())
        payload_s += time.perf_counter() - start_s
    return payload_s


async def _in_turn(since_s: float) -> float:
    """Lets others have the event loop where it was not theirs since `TURN_S`, and returns since when it was not."""
    if time.perf_counter() - since_s < TURN_S:
        return since_s
    await asyncio.sleep(0)
    return time.perf_counter()


async def _search_one(
    state: AppState, view: SearchView, one: _Asked, results: list[BatchResult | BatchFailure | None]
) -> float:
    """A query of words, groups or pages, or one to rerank, goes alone; returns seconds spent on payloads."""
    view = view.asking(one.query)
    try:
        ranked, paged = await rank(state, view, one.query, one.resolved, one.kept, one.deadline)
        await view.bring([hit.row for hit in ranked.hits], one.deadline)
        start_s = time.perf_counter()
        one.deadline.check()
        result = result_of_ranked(view, one.query, one.resolved, one.kept, ranked, paged)
        results[one.place] = await marked(view, one.query, result, one.deadline)
        return time.perf_counter() - start_s
    except Problem as problem:
        results[one.place] = BatchFailure(problem.as_dict())
        return 0.0


def _sum(results: Iterable[BatchResult | BatchFailure]) -> Usage:
    return sum_of([result.usage for result in results if isinstance(result, BatchResult)])
