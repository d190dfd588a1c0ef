"""One query over several indexes of this server, and one list of hits.

Scores of different indexes are comparable where all of them are distances in the same space: in mode dense, with one
model and one metric, or with vectors of the caller's own. Elsewhere (words weigh what they weigh in their index, and a
fused score only compares within one answer) the hits are merged by rank: all first hits, then all second ones, each in
the order in which the indexes were named. `merge` says which of the two is wanted; the default is scores where they
compare. A hit keeps the score that it has in its own index.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import NamedTuple

from msgspec import structs

from service.access.caller import Caller
from service.query.admission import Deadline
from service.query.app_state import AppState
from service.query.ranked.paging import rank
from service.query.resolving import resolve
from service.query.results import marked, result_of_ranked
from service.query.search import deadline_of, survivors
from service.query.searched import SearchView
from service.wire import limits
from service.wire.answer.search import BatchResult, IndexedHit, SearchedIndex, SeveralAnswer, sum_of
from service.wire.encoding import encode
from service.wire.problems import Problem
from service.wire.request.search import SEVERAL, SearchRequest, SeveralRequest, check_search

_SHARED = ("text", "vector", "k", "mode", "filter", "fields", "params", "allow_partial", "explain", "highlight")


class _AnsweredIndex(NamedTuple):
    view: SearchView
    result: BatchResult


async def answer(state: AppState, caller: Caller, body: bytes, start_s: float) -> bytes:
    """The JSON of a SeveralAnswer. Raises Problem, which names the index where one of them is at fault."""
    asked = limits.decode(SEVERAL, body)
    query = SearchRequest(**{name: getattr(asked, name) for name in _SHARED})
    check_search(query)
    for place, name in enumerate(asked.indexes):
        if not caller.may_see(name):
            raise Problem("forbidden", "This key is not for that index.", pointer=f"/indexes/{place}")
        if name in asked.indexes[:place]:
            raise Problem("invalid-value", f"Index {name} is named twice.", pointer=f"/indexes/{place}")
    caller.charge(len(asked.indexes) - 1)
    deadline = deadline_of(state, asked.timeout_ms, start_s)
    async with state.admission.place(deadline):
        searching = [_one(state, caller, name, place, query, deadline) for place, name in enumerate(asked.indexes)]
        answered = await asyncio.gather(*searching)
        by_score = _by_score(asked, [each.view for each in answered])
        deadline.check()
    usage = sum_of([each.result.usage for each in answered])
    state.count(
        caller,
        queries=len(answered),
        tokens=usage.tokens,
        vectors_scored=usage.vectors_scored,
        cpu_s=usage.cpu_ms / 1e3,
    )
    return encode(
        SeveralAnswer(
            _merged(answered, by_score)[: asked.k],
            "score" if by_score else "rank",
            [SearchedIndex(view.name, view.id, view.model, result.coverage, view.seq) for view, result in answered],
            usage,
            round((time.perf_counter() - start_s) * 1e3, 3),
        )
    )


async def _one(
    state: AppState, caller: Caller, name: str, place: int, query: SearchRequest, deadline: Deadline
) -> _AnsweredIndex:
    try:
        with state.registry.loaded(name) as loaded:
            if loaded.name != name:
                raise Problem("index-not-found", "Indexes are named by their alias here, not by a generation.")
            view = await loaded.view_for(query, deadline)
            kept = await survivors(view, caller, query, deadline)
            resolved = await resolve(state, view, caller, query, deadline, kept.keep)
            ranked, paged = await rank(state, view, query, resolved, kept, deadline)
            await view.bring([hit.row for hit in ranked.hits], deadline)
            result = result_of_ranked(view, query, resolved, kept, ranked, paged)
            return _AnsweredIndex(view, await marked(view, query, result, deadline))
    except Problem as problem:
        problem.members["index"] = name
        if problem.code in ("index-not-found", "generation-gone"):
            problem.pointer = f"/indexes/{place}"
        raise


def _by_score(asked: SeveralRequest, views: Sequence[SearchView]) -> bool:
    """Whether hits are merged by their scores; raises Problem where that was asked for and means nothing."""
    if asked.merge == "rank":
        return False
    spaces = {(view.model, view.metric, view.dim) for view in views}
    comparable = asked.mode == "dense" and len(spaces) == 1
    if asked.merge == "score" and not comparable:
        why = "the indexes differ in model, metric or dimensions" if asked.mode == "dense" else f"mode is {asked.mode}"
        raise Problem(
            "invalid-value",
            f"Scores of these indexes do not compare: {why}. Merge by rank, or leave merge out.",
            pointer="/merge",
        )
    return comparable


def _merged(answered: Sequence[_AnsweredIndex], by_score: bool) -> list[IndexedHit]:
    hits = [
        (-hit.score if by_score else rank, place, rank, IndexedHit(view.name, **structs.asdict(hit)))
        for place, (view, result) in enumerate(answered)
        for rank, hit in enumerate(result.hits)
    ]
    return [hit for *_, hit in sorted(hits, key=lambda each: each[:3])]
