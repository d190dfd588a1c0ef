"""Recall of the generation that is served, measured on request: the same queries, searched as usual and exactly.

The build measured recall too, on rows that it held out. Here it is measured for a filter, an effort, or the caller's
own texts. Without texts, the queries are points midway between two rows of the index (`index/build/recall.py` says
why). A hit counts when its score is at least that of the k-th true one, because it does not matter which of two equal
vectors was found.

One measurement runs at a time, a few queries at once in the search thread, so that searches wait a moment and not until
it is done.
"""

from __future__ import annotations

import asyncio
import time

import numpy as np
from starlette.requests import Request
from starlette.responses import Response

from index.build.recall import interval, midway
from service.access.caller import Caller, caller_of
from service.query.admission import Deadline
from service.query.app_state import AppState, state_of
from service.query.search import deadline_of
from service.query.searched import SearchView, Vectors
from service.wire import filters, limits
from service.wire.answer.recall import RecallAnswer
from service.wire.encoding import encode
from service.wire.limits import read_body
from service.wire.problems import Problem
from service.wire.request.recall import RECALL, RecallRequest

AT_ONCE = 16


async def recall(request: Request) -> Response:
    """`POST`: measures recall@k of the generation that answers for the index."""
    state = state_of(request)
    body = await read_body(request.scope, request.receive, limits.BODY_BYTES)
    start_s = time.perf_counter()
    asked = limits.decode(RECALL, body)
    queries = asked.queries if asked.texts is None else len(asked.texts)
    caller_of(request.scope).charge(2 * queries - 1)  # each is searched twice, and one request was taken by auth
    deadline = deadline_of(state, asked.timeout_ms or limits.TIMEOUT_MS, start_s)
    lock: asyncio.Lock = request.app.state.measuring
    if lock.locked():
        raise Problem("overloaded", "Another recall is being measured here; one at a time.")
    async with lock:
        with state.registry.loaded(request.path_params["index"]) as loaded:
            view = await loaded.view_at(None, deadline)
            measured = await _measure(state, view, caller_of(request.scope), asked, deadline)
            content = encode(
                RecallAnswer(
                    loaded.name,
                    loaded.id,
                    *measured,
                    took_ms=round((time.perf_counter() - start_s) * 1e3, 3),
                )
            )
    return Response(content, headers={"cache-control": "no-store"}, media_type="application/json")


async def _measure(
    state: AppState, view: SearchView, caller: Caller, asked: RecallRequest, deadline: Deadline
) -> tuple[int, int, float, float, float, int, str, int, float, float]:
    filter_ = filters.conjoin(filters.parse(asked.filter), filters.of_key(caller.filter))
    keep = await view.survivors(filter_, deadline)
    survivors = await view.counted(keep, deadline)
    reach = min(asked.k, survivors)
    if view.count == 0:
        raise Problem("invalid-value", f"Index {view.name} has no documents to measure with.", pointer="")
    if reach == 0:
        raise Problem("invalid-value", "No document survives the filter.", pointer="/filter")
    queries, method = await _queries(state, view, caller, asked, deadline)
    if view.codes:
        method += ", found by codes as an exact search finds them"
    params = asked.params
    effort = None if params is None else params.effort  # by default of a router: each shard's own
    shares, took = [], {False: 0.0, True: 0.0}
    for start in range(0, len(queries), AT_ONCE):
        part = queries[start : start + AT_ONCE]
        scores = {}
        for exact in (False, True):
            at_s = time.perf_counter()
            searched = await view.search(part, reach, effort, exact, deadline, keep)
            scores[exact] = searched.found.scores
            state.count(
                caller, queries=len(part), vectors_scored=int(searched.found.scored.sum()), cpu_s=searched.cpu_s
            )
            took[exact] += time.perf_counter() - at_s
        shares.append((scores[False] >= scores[True][:, -1:]).mean(axis=1))
        deadline.check()
    found = np.concatenate(shares)
    low, high = interval(found)
    ann_ms, exact_ms = (round(seconds / len(queries) * 1e3, 4) for seconds in (took[False], took[True]))
    return (
        asked.k,
        view.effort_of(effort),
        float(found.mean()),
        low,
        high,
        len(queries),
        method,
        survivors,
        ann_ms,
        exact_ms,
    )


async def _queries(
    state: AppState, view: SearchView, caller: Caller, asked: RecallRequest, deadline: Deadline
) -> tuple[Vectors, str]:
    if asked.texts is not None:
        if view.model is None or state.batcher is None:
            raise Problem("invalid-value", "This index knows no model to encode texts with.", pointer="/texts")
        encoded = await deadline.limit(state.batcher.encode_many(asked.texts, "query"))
        state.count(caller, tokens=sum(one.tokens for one in encoded), cpu_s=sum(one.cpu_s for one in encoded))
        return np.stack([one.vector for one in encoded]), "the texts of the request"
    return midway(await view.sample(asked.queries, deadline)), "points midway between two rows of the index"
