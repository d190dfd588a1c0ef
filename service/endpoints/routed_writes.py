"""Documents put and deleted through a router: the calls of `writes.py`, answered by the shards of each document."""

from __future__ import annotations

import time

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from service.access.caller import Caller, caller_of
from service.endpoints.repeats import key_of
from service.query.admission import Deadline
from service.query.app_state import state_of
from service.query.search import deadline_of
from service.routing import changing
from service.routing.changing import RoutedWrite
from service.routing.whole import RoutedIndex
from service.wire import filters, limits
from service.wire.answer.documents import DeleteAnswer, PutAnswer
from service.wire.encoding import encode
from service.wire.limits import WRITE_TIMEOUT_MS, read_body
from service.wire.problems import Problem
from service.wire.request.documents import DELETE, PUT, DeleteRequest


async def put_documents(request: Request) -> Response:
    state, caller = state_of(request), caller_of(request.scope)
    body = await read_body(request.scope, request.receive, limits.BATCH_BODY_BYTES)
    start_s = time.perf_counter()
    asked = limits.decode(PUT, body)
    filters.parse(asked.within)
    caller.charge(len(asked.documents) - 1)
    deadline = deadline_of(state, asked.timeout_ms or WRITE_TIMEOUT_MS, start_s)
    done = await changing.put(_write(request, caller, deadline, body), asked)
    state.metrics.documents_put.inc(done.written)
    return _response(done, start_s)


async def delete_document(request: Request) -> Response:
    caller, id_ = caller_of(request.scope), request.path_params["id"]
    start_s = time.perf_counter()
    write = _write(request, caller, deadline_of(state_of(request), None, start_s))
    done = await changing.delete(write, DeleteRequest(ids=[id_]))
    if not done.deleted:
        raise Problem("document-not-found", f"Index {write.to.name} has no document {id_!r}.")
    return _counted(request, caller, done, start_s)


async def delete_documents(request: Request) -> Response:
    state, caller = state_of(request), caller_of(request.scope)
    body = await read_body(request.scope, request.receive, limits.BODY_BYTES)
    start_s = time.perf_counter()
    asked = limits.decode(DELETE, body)
    if (asked.ids is None) == (filters.parse(asked.filter) is None):
        raise Problem("invalid-value", "Name the documents by ids, or by a filter; one of the two.", pointer="")
    filters.parse(asked.within)
    deadline = deadline_of(state, asked.timeout_ms or WRITE_TIMEOUT_MS, start_s)
    done = await changing.delete(_write(request, caller, deadline, body), asked)
    return _counted(request, caller, done, start_s)


def _write(request: Request, caller: Caller, deadline: Deadline, body: bytes = b"") -> RoutedWrite:
    """Raises Problem for a generation, which never changes."""
    name = request.path_params["index"]
    index = state_of(request).registry.loaded(name)
    assert isinstance(index, RoutedIndex)  # these routes are a router's
    if index.id == name:
        raise Problem("invalid-value", f"Writes go to an index by its name, {index.name}, and not to a generation.")
    return RoutedWrite(index, caller, deadline, key_of(request), body)


def _counted(request: Request, caller: Caller, done: DeleteAnswer, start_s: float) -> Response:
    caller.charge(max(0, done.deleted - 1))  # one was taken by auth
    if not done.dry_run:
        state_of(request).metrics.documents_deleted.inc(done.deleted)
    return _response(done, start_s)


def _response(answer: PutAnswer | DeleteAnswer, start_s: float) -> Response:
    timed = msgspec.structs.replace(answer, took_ms=round((time.perf_counter() - start_s) * 1e3, 3))
    return Response(encode(timed), headers={"cache-control": "no-store"}, media_type="application/json")
