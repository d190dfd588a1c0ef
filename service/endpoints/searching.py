"""Searches, one or many in a request. Plain single ones mostly take the fast path instead (`http/fast_path.py`)."""

from __future__ import annotations

import time

from starlette.requests import Request
from starlette.responses import Response

from service.access.caller import caller_of
from service.compound import batch, several
from service.compound import facets as counting
from service.query import search as one
from service.query.app_state import state_of
from service.query.search import Answered
from service.routing import part as shard
from service.wire import limits
from service.wire.limits import read_body


async def search(request: Request) -> Response:
    body = await read_body(request.scope, request.receive, limits.BODY_BYTES)
    caller, index = caller_of(request.scope), request.path_params["index"]
    return _response(request, await one.answer(state_of(request), caller, index, body, time.perf_counter()))


async def search_batch(request: Request) -> Response:
    body = await read_body(request.scope, request.receive, limits.BATCH_BODY_BYTES)
    caller, index = caller_of(request.scope), request.path_params["index"]
    return _response(request, await batch.answer(state_of(request), caller, index, body, time.perf_counter()))


async def facets(request: Request) -> Response:
    body = await read_body(request.scope, request.receive, limits.BODY_BYTES)
    caller, index = caller_of(request.scope), request.path_params["index"]
    content = await counting.answer(state_of(request), caller, index, body, time.perf_counter())
    return Response(content, media_type="application/json")


async def search_indexes(request: Request) -> Response:
    body = await read_body(request.scope, request.receive, limits.BODY_BYTES)
    content = await several.answer(state_of(request), caller_of(request.scope), body, time.perf_counter())
    return Response(content, media_type="application/json")


async def part(request: Request) -> Response:
    body = await read_body(request.scope, request.receive, limits.BATCH_BODY_BYTES)
    caller, index = caller_of(request.scope), request.path_params["index"]
    return _response(request, await shard.answer(state_of(request), caller, index, body, time.perf_counter()))


def _response(request: Request, answered: Answered) -> Response:
    request.scope["state"]["answered"] = answered  # for the span of a traced server
    headers = {"server-timing": answered.stages.server_timing()}
    return Response(answered.content, headers=headers, media_type="application/json")
