"""Documents put and deleted over HTTP: on the disk before the answer, and found by every search with their `min_seq`.

    PUT     checked like the documents of a build; texts are encoded on the queue that queries use, weighed by
            the sparse model where the index has one; then logged
    DELETE  by id, by ids or by a filter, which is resolved to ids first: the log holds effects and no filters

A document that cannot be written gets a problem of its own, and the others are written. A key cannot replace or delete
documents that its filter hides, nor put documents that it would hide. A request with an `Idempotency-Key` that came
before is answered as it was then (repeats.py).
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence

import numpy as np
from starlette.requests import Request
from starlette.responses import Response

from index.changes.log_file import Write
from index.changes.repeats import KeyedRequest
from index.search.bitmap import Bitmap
from index.search.filtering import Filter
from service.access.caller import caller_of
from service.endpoints.puts import require_room, writes_of
from service.endpoints.repeats import answered_before, keyed, with_answer
from service.query.admission import Deadline
from service.query.app_state import AppState, here_of, state_of
from service.query.search import deadline_of
from service.query.served_generation import ServedGeneration
from service.query.served_view import ServedView
from service.routing.changing import too_many
from service.wire import filters, limits
from service.wire.answer.documents import DeleteAnswer, PutAnswer
from service.wire.encoding import encode
from service.wire.limits import WRITE_TIMEOUT_MS, read_body
from service.wire.problems import Problem
from service.wire.request.documents import DELETE, PUT


async def put_documents(request: Request) -> Response:
    state, caller = state_of(request), caller_of(request.scope)
    body = await read_body(request.scope, request.receive, limits.BATCH_BODY_BYTES)
    start_s = time.perf_counter()
    asked = limits.decode(PUT, body)
    caller.charge(len(asked.documents) - 1)
    deadline = deadline_of(state, asked.timeout_ms or WRITE_TIMEOUT_MS, start_s)
    with _served(request) as loaded:
        name = loaded.generation.name
        noted = keyed(request, caller, body)
        if (before := await answered_before(here_of(request), name, noted, PutAnswer)) is not None:
            return _response(before)
        imposed = filters.conjoin(filters.parse(asked.within), filters.of_key(caller.filter))
        view = loaded.view() if imposed is None else await loaded.view_to_write(deadline)
        require_room(loaded, len(asked.documents))
        writes, failed = await writes_of(
            state, view, caller, imposed, [bytes(raw) for raw in asked.documents], deadline, here_of(request).weighing
        )
        bare = 0 if view.generation.sparse is None else sum(write.weights is None for write in writes)
        answer = PutAnswer(name, 0, len(writes), _took_ms(start_s), failed, bare)
        seq = await _written(state, loaded, writes, deadline, with_answer(noted, answer))
        state.metrics.documents_put.inc(len(writes))
        answer = PutAnswer(name, seq, len(writes), _took_ms(start_s), failed, bare)
    return _response(answer)


async def delete_document(request: Request) -> Response:
    state, caller = state_of(request), caller_of(request.scope)
    start_s = time.perf_counter()
    deadline = deadline_of(state, None, start_s)
    with _served(request) as loaded:
        noted = keyed(request, caller, b"")
        if (before := await answered_before(here_of(request), loaded.generation.name, noted, DeleteAnswer)) is not None:
            return _response(before)
        view, id_ = await loaded.view_to_write(deadline), request.path_params["id"]
        if view.row_of(id_, caller) is None:
            raise Problem("document-not-found", f"Index {view.generation.name} has no document {id_!r}.")
        return await _delete(state, loaded, [id_], start_s, deadline, noted)


async def delete_documents(request: Request) -> Response:
    state, caller = state_of(request), caller_of(request.scope)
    body = await read_body(request.scope, request.receive, limits.BODY_BYTES)
    start_s = time.perf_counter()
    asked = limits.decode(DELETE, body)
    deadline = deadline_of(state, asked.timeout_ms or WRITE_TIMEOUT_MS, start_s)
    filter_ = filters.parse(asked.filter)
    if (asked.ids is None) == (filter_ is None):
        raise Problem("invalid-value", "Name the documents by ids, or by a filter; one of the two.", pointer="")
    with _served(request) as loaded:
        noted = keyed(request, caller, body)
        if asked.dry_run:
            noted = None
        if (before := await answered_before(here_of(request), loaded.generation.name, noted, DeleteAnswer)) is not None:
            return _response(before)
        view = await loaded.view_to_write(deadline, asked.min_seq)
        imposed = filters.conjoin(filters.parse(asked.within), filters.of_key(caller.filter))
        if asked.ids is not None:
            ids = [id_ for id_ in dict.fromkeys(asked.ids) if _there(view, id_, imposed)]
        else:
            ids = await _surviving(view, filters.conjoin(filter_, imposed), deadline)
        caller.charge(max(0, len(ids) - 1))  # one was taken by auth
        return await _delete(state, loaded, ids, start_s, deadline, noted, dry_run=asked.dry_run)


async def _delete(
    state: AppState,
    loaded: ServedGeneration,
    ids: Sequence[str],
    start_s: float,
    deadline: Deadline,
    noted: KeyedRequest | None,
    *,
    dry_run: bool = False,
) -> Response:
    name = loaded.generation.name
    writes = [] if dry_run else [Write(id_, None) for id_ in ids]
    noted = with_answer(noted, DeleteAnswer(name, 0, len(ids), dry_run, _took_ms(start_s)))
    seq = await _written(state, loaded, writes, deadline, noted)
    state.metrics.documents_deleted.inc(len(writes))
    return _response(DeleteAnswer(name, seq, len(ids), dry_run, _took_ms(start_s)))


async def _written(
    state: AppState,
    loaded: ServedGeneration,
    writes: Sequence[Write],
    deadline: Deadline,
    noted: KeyedRequest | None,
) -> int:
    """The seq of the last of the writes, once they are on the disk and searched by this worker."""
    if not writes and noted is None:
        return loaded.follower.seq
    assert state.here is not None  # what was loaded is here
    seq = await deadline.limit(
        state.here.writing.submit(loaded.generation.name, loaded.dim, loaded.model, writes, noted)
    )
    with contextlib.suppress(Problem):  # they are written, whether they can be read back in time or not
        await loaded.follower.at(seq, deadline)
    return seq


def _there(view: ServedView, id_: str, imposed: Filter | None) -> bool:
    row = view.rows.row_of(id_)
    return row is not None and filters.holds(view.rows, imposed, row)


async def _surviving(view: ServedView, filter_: Filter | None, deadline: Deadline) -> list[str]:
    keep = await view.survivors(filter_, deadline)
    assert keep is not None  # there is a filter
    if keep.count > limits.DELETE_DOCUMENTS:
        raise too_many(keep.count)
    if isinstance(keep, Bitmap):
        rows = keep.rows
    else:
        base = np.arange(keep.rows_of_base) if keep.base is None else keep.base.rows
        rows = np.concatenate([base, keep.delta.rows + keep.rows_of_base])
    return [view.rows.external_id(row) for row in rows.tolist()]


def _served(request: Request) -> ServedGeneration:
    """The index that the path names; raises Problem for a generation, which never changes."""
    index = request.path_params["index"]
    loaded = here_of(request).registry.loaded(index)
    if loaded.id == index:
        raise Problem(
            "invalid-value", f"Writes go to an index by its name, {loaded.generation.name}, and not to a generation."
        )
    return loaded


def _took_ms(start_s: float) -> float:
    return round((time.perf_counter() - start_s) * 1e3, 3)


def _response(answer: PutAnswer | DeleteAnswer) -> Response:
    return Response(encode(answer), headers={"cache-control": "no-store"}, media_type="application/json")
