""""""

from __future__ import annotations

import time

from starlette.requests import Request
from starlette.responses import Response

from service.access.caller import caller_of
from service.query.app_state import state_of
from service.query.batch import _resolve_all, _search_all, _sum
from service.query.search import Stages, answer, deadline_of, observe, server_timing
from service.wire import answers, limits, requests
from service.wire.answers import BatchAnswer, BatchFailure, BatchResult
from service.wire.limits import read_body


async def search_batch(request: Request) -> Response:
    state = state_of(request)
    body = await read_body(request.scope, request.receive, limits.BATCH_BODY_BYTES)
    start_s = time.perf_counter()
    batch = limits.decode(requests.BATCH, body)
    caller_of(request.scope).charge(len(batch.queries) - 1)
    deadline = deadline_of(state, batch.timeout_ms, start_s)
    results: list[BatchResult | BatchFailure | None] = [None] * len(batch.queries)
    async with state.admission.place(deadline):
        with state.registry.loaded(request.path_params["index"]) as loaded:
            view = await loaded.view_at(batch.min_seq, deadline)
            embed_s = time.perf_counter()
            caller = caller_of(request.scope)
            asked = await _resolve_all(state, view, caller, batch, deadline, start_s, results)
            deadline.check()
            ann_s = time.perf_counter()
            payload_s = await _search_all(view, asked, deadline, results)
            end_s = time.perf_counter()
            deadline.check()
            done = [result for result in results if result is not None]
            usage = _sum(done)
            content = answers.encode(
                BatchAnswer(
                    view.generation.name,
                    view.id,
                    view.model,
                    done,
                    usage,
                    round((end_s - start_s) * 1e3, 3),
                    view.seq or None,
                )
            )
    stages = Stages(0.0, ann_s - embed_s, end_s - ann_s - payload_s, 0.0, payload_s)
    observe(state, usage, stages)
    return Response(content, headers={"server-timing": server_timing(stages)}, media_type="application/json")


async def search(request: Request) -> Response:
    state = state_of(request)
    body = await read_body(request.scope, request.receive, limits.BODY_BYTES)
    caller = caller_of(request.scope)
    content, timing = await answer(state, caller, request.path_params["index"], body, time.perf_counter())
    return Response(content, headers={"server-timing": timing}, media_type="application/json")
