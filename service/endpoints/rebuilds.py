"""Rebuilding an index beside the service: start one, see how far it is, end it."""

from __future__ import annotations

import asyncio
import contextlib

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from service.access.caller import Caller, caller_of
from service.endpoints.repeats import key_of
from service.query.app_state import Here, here_of
from service.rebuilds.records import RebuildRecord
from service.rebuilds.starting import asked_by
from service.wire import limits
from service.wire.answer.rebuilds import RebuildAnswer, RebuildList
from service.wire.limits import read_body
from service.wire.problems import Problem
from service.wire.request.generations import REBUILD


async def start_rebuild(request: Request) -> Response:
    here, caller = here_of(request), caller_of(request.scope)
    body = await read_body(request.scope, request.receive, limits.BODY_BYTES)
    asked = limits.decode(REBUILD, body)
    if not caller.may_see(asked.index):
        raise Problem("index-not-found", f"No index {asked.index!r} is served here.", pointer="/index")
    index = here.registry.loaded(asked.index).name
    if index != asked.index:
        raise Problem("invalid-value", f"What is rebuilt is an index, {index}, and not a generation.", pointer="/index")
    key = key_of(request)
    by = None if key is None else asked_by(caller.name or "", key)
    return _json(await asyncio.to_thread(here.rebuilds.start, index, asked.source, asked_by=by), 202)


async def list_rebuilds(request: Request) -> Response:
    here, caller = here_of(request), caller_of(request.scope)
    records = await asyncio.to_thread(here.rebuilds.records.all)
    return _json(RebuildList([one.answer for one in records if caller.may_see(one.answer.index)]))


async def get_rebuild(request: Request) -> Response:
    here = here_of(request)
    answer = (await _found(here, caller_of(request.scope), request.path_params["rebuild"])).answer
    if answer.switched:
        await _serve(here, answer)
    return _json(answer)


async def cancel_rebuild(request: Request) -> Response:
    here = here_of(request)
    record = await _found(here, caller_of(request.scope), request.path_params["rebuild"])
    return _json(await asyncio.to_thread(here.rebuilds.cancel, record), 202)


async def _serve(here: Here, answer: RebuildAnswer) -> None:
    """Makes every worker serve the result before a caller hears that the rebuild succeeded."""
    with contextlib.suppress(Problem):
        if here.registry.loaded(answer.index).id != answer.generation:
            await here.registry.follow(answer.index)
        await here.tell_others(answer.index)


async def _found(here: Here, caller: Caller, id_: str) -> RebuildRecord:
    record = await asyncio.to_thread(here.rebuilds.records.get, id_)
    if record is None or not caller.may_see(record.answer.index):
        raise Problem("rebuild-not-found", f"There is no rebuild {id_!r} here; GET /v1/rebuilds lists them.")
    return record


def _json(content: object, status: int = 200) -> Response:
    return Response(
        msgspec.json.encode(content), status, headers={"cache-control": "no-store"}, media_type="application/json"
    )
