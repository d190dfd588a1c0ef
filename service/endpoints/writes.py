"""Documents put and deleted over HTTP: on the disk before the answer, and found by every search with their `min_seq`.

    PUT     checked like the documents of a build; texts are encoded on the queue that queries use; then logged
    DELETE  by id, by ids or by a filter, which is resolved to ids first: the log holds effects and no filters

A document that cannot be written gets a problem of its own, and the others are written. A key cannot replace or delete
documents that its filter hides, nor put documents that it would hide.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import numpy as np
from starlette.requests import Request
from starlette.responses import Response

from embed.documents.document import embedded_text
from embed.vectors.vector_cache import hash_texts
from index import InputError
from index.changes.columns import ChangedColumns, check_payload
from index.changes.log_file import Write
from index.disk import codes
from index.search.bitmap import Bitmap
from index.search.filtering import Filter
from service.access.caller import Caller, caller_of
from service.query.admission import Deadline
from service.query.app_state import AppState, state_of
from service.query.batcher import Encoded, Vector
from service.query.search import deadline_of
from service.query.served_generation import ServedGeneration
from service.query.served_view import ServedView
from service.wire import answers, filters, limits, requests
from service.wire.answers import DeleteAnswer, PutAnswer, WriteFailure
from service.wire.limits import read_body
from service.wire.problems import Problem

WRITE_TIMEOUT_MS = limits.TIMEOUT_MS  # a thousand texts take longer than a search may
FULL_RETRY_AFTER_S = 60


class _WrittenTexts(msgspec.Struct):
    """The fields of a payload that are encoded where the document brings neither text nor vector."""

    title: object = None
    text: object = None


_TEXTS = msgspec.json.Decoder(_WrittenTexts)


class _Put(NamedTuple):
    """A document that may be written. text: to be encoded, None where it brought its vector."""

    place: int
    id: str
    payload: bytes
    text: str | None
    vector: Vector | None


async def put_documents(request: Request) -> Response:
    state, caller = state_of(request), caller_of(request.scope)
    body = await read_body(request.scope, request.receive, limits.BATCH_BODY_BYTES)
    start_s = time.perf_counter()
    asked = limits.decode(requests.PUT, body)
    caller.charge(len(asked.documents) - 1)
    deadline = deadline_of(state, asked.timeout_ms or WRITE_TIMEOUT_MS, start_s)
    with _served(state, request) as loaded:
        view = loaded.view()
        _require_room(loaded, len(asked.documents))
        failed: list[WriteFailure] = []
        puts: list[_Put] = []
        for place, raw in enumerate(asked.documents):
            try:
                puts.append(_checked(state, view, caller, place, bytes(raw)))
            except Problem as problem:
                failed.append(WriteFailure(place, _id_in(bytes(raw)), problem.as_dict()))
        puts = _allowed(view, caller, puts, failed)
        writes = await _encoded(state, puts, deadline)
        seq = await _written(state, loaded, writes, deadline)
        state.metrics.documents_put.inc(len(writes))
        failed.sort(key=lambda one: one.place)
        answer = PutAnswer(view.generation.name, seq, len(writes), _took_ms(start_s), failed)
    return _response(answer)


async def delete_document(request: Request) -> Response:
    state, caller = state_of(request), caller_of(request.scope)
    start_s = time.perf_counter()
    deadline = deadline_of(state, None, start_s)
    with _served(state, request) as loaded:
        view, id_ = loaded.view(), request.path_params["id"]
        if view.row_of(id_, caller) is None:
            raise Problem("document-not-found", f"Index {view.generation.name} has no document {id_!r}.")
        return await _delete(state, loaded, [id_], start_s, deadline, dry_run=False)


async def delete_documents(request: Request) -> Response:
    state, caller = state_of(request), caller_of(request.scope)
    body = await read_body(request.scope, request.receive, limits.BODY_BYTES)
    start_s = time.perf_counter()
    asked = limits.decode(requests.DELETE, body)
    deadline = deadline_of(state, asked.timeout_ms or WRITE_TIMEOUT_MS, start_s)
    filter_ = filters.parse(asked.filter)
    if (asked.ids is None) == (filter_ is None):
        raise Problem("invalid-value", "Name the documents by ids, or by a filter; one of the two.", pointer="")
    with _served(state, request) as loaded:
        view = await loaded.view_at(asked.min_seq, deadline)
        if asked.ids is not None:
            ids = [id_ for id_ in dict.fromkeys(asked.ids) if view.row_of(id_, caller) is not None]
        else:
            ids = await _surviving(view, filters.conjoin(filter_, filters.of_key(caller.filter)), deadline)
        caller.charge(max(0, len(ids) - 1))  # one was taken by auth
        return await _delete(state, loaded, ids, start_s, deadline, dry_run=asked.dry_run)


async def _delete(
    state: AppState, loaded: ServedGeneration, ids: Sequence[str], start_s: float, deadline: Deadline, *, dry_run: bool
) -> Response:
    writes = [] if dry_run else [Write(id_, None) for id_ in ids]
    seq = await _written(state, loaded, writes, deadline)
    state.metrics.documents_deleted.inc(len(writes))
    return _response(DeleteAnswer(loaded.generation.name, seq, len(ids), dry_run, _took_ms(start_s)))


async def _written(state: AppState, loaded: ServedGeneration, writes: Sequence[Write], deadline: Deadline) -> int:
    """The seq of the last of the writes, once they are on the disk and searched by this worker."""
    if not writes:
        return loaded.follower.seq
    seq = await deadline.limit(state.writing.submit(loaded.generation.name, loaded.dim, loaded.model, writes))
    with contextlib.suppress(Problem):  # they are written, whether they can be read back in time or not
        await loaded.follower.at(seq, deadline)
    return seq


async def _surviving(view: ServedView, filter_: Filter | None, deadline: Deadline) -> list[str]:
    keep = await view.survivors(filter_, deadline)
    assert keep is not None  # there is a filter
    if keep.count > limits.DELETE_DOCUMENTS:
        raise Problem(
            "invalid-value",
            f"The filter keeps {keep.count:,} documents, and one request deletes at most {limits.DELETE_DOCUMENTS:,}: "
            "narrow it, or build the index anew without them.",
            pointer="/filter",
            survivors=keep.count,
        )
    if isinstance(keep, Bitmap):
        rows = keep.rows
    else:
        base = np.arange(keep.rows_of_base) if keep.base is None else keep.base.rows
        rows = np.concatenate([base, keep.delta.rows + keep.rows_of_base])
    return [view.rows.external_id(row) for row in rows.tolist()]


def _served(state: AppState, request: Request) -> ServedGeneration:
    """The index that the path names; raises Problem for a generation, which never changes."""
    index = request.path_params["index"]
    loaded = state.registry.loaded(index)
    if loaded.id == index:
        raise Problem(
            "invalid-value", f"Writes go to an index by its name, {loaded.generation.name}, and not to a generation."
        )
    return loaded


def _require_room(loaded: ServedGeneration, documents: int) -> None:
    delta = loaded.follower.delta
    if delta is not None and delta.count + documents > limits.CHANGES:
        raise Problem(
            "quota-exceeded",
            f"{delta.count:,} documents were written since generation {loaded.id}, and an index takes "
            f"{limits.CHANGES:,} of them: build them in with `perwatt build --from-changes`.",
            headers={"retry-after": str(FULL_RETRY_AFTER_S)},
            changes=delta.count,
        )


def _checked(state: AppState, view: ServedView, caller: Caller, place: int, raw: bytes) -> _Put:
    """Raises the Problem of a document that cannot be written."""
    given = limits.decode(requests.PUT_DOCUMENT, raw)
    payload = bytes(given.payload)
    _check_id(view, given.id)
    try:
        check_payload(payload, view.generation.manifest["filterable"])
    except InputError as error:
        raise Problem("invalid-value", f"{_sentence(str(error))}.", pointer="/payload") from None
    if given.vector is not None:
        if given.text is not None:
            raise Problem(
                "invalid-value", "A document brings a text to encode or its vector, not both.", pointer="/text"
            )
        vector = requests.vector_of(given.vector, view.dim)
        if codes.norms(vector.reshape(1, -1))[0] >= codes.LONGEST:
            raise Problem(
                "invalid-value",
                f"The vector is longer than {codes.LONGEST:g}, and no index ranks it.",
                pointer="/vector",
            )
        if view.generation.metric == "cosine" and not vector.any():
            raise Problem("invalid-value", "The vector is zero, which has no direction.", pointer="/vector")
        return _Put(place, given.id, payload, None, vector)
    text = given.text if given.text is not None else _text_of(payload)
    if not text:
        raise Problem(
            "invalid-value",
            "The document has nothing to search by: send a vector, a text, or a payload with a title or text.",
            pointer="/text",
        )
    if state.batcher is None or view.model is None:
        raise Problem(
            "invalid-value",
            f"Index {view.generation.name} was built from bare vectors and knows no model to encode a text with: "
            "send a vector.",
            pointer="/text",
        )
    return _Put(place, given.id, payload, text, None)


def _check_id(view: ServedView, id_: str) -> None:
    size = len(id_.encode(errors="surrogatepass"))
    if size > limits.ID_CHARACTERS:
        raise Problem(
            "invalid-value",
            f"The id has {size:,} bytes, at most {limits.ID_CHARACTERS:,} are allowed.",
            pointer="/id",
        )
    if view.generation.manifest["id_type"] == "str":
        return
    try:
        fits = str(int(id_)) == id_ and -(2**63) <= int(id_) < 2**63
    except ValueError:
        fits = False
    if not fits:
        raise Problem(
            "invalid-value", f"The ids of this index are integers of 64 bits, and {id_[:80]!r} is none.", pointer="/id"
        )


def _text_of(payload: bytes) -> str:
    found = _TEXTS.decode(payload)
    title, text = (part if isinstance(part, str) else "" for part in (found.title, found.text))
    return embedded_text(title, text)


def _id_in(raw: bytes) -> str | None:
    """The id of a document that may be malformed, to name it by."""
    try:
        found = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    id_ = found.get("id") if isinstance(found, dict) else None
    return id_[: limits.NAME_CHARACTERS] if isinstance(id_, str) else None


def _allowed(view: ServedView, caller: Caller, puts: list[_Put], failed: list[WriteFailure]) -> list[_Put]:
    """The documents that the key allows, both as they will be and as they are now; the others go to `failed`."""
    imposed = filters.of_key(caller.filter)
    if imposed is None or not puts:
        return puts
    columns = ChangedColumns(view.generation.manifest["filterable"])
    for put in puts:
        columns.add(put.payload)
    try:
        kept = Bitmap(columns.snapshot().bits(imposed), len(puts))
    except InputError:  # the index does not have the filter's field, so the key may do nothing here
        kept = Bitmap(np.zeros(len(puts), np.bool_), len(puts))
    allowed = []
    for at, put in enumerate(puts):
        hidden = view.rows.row_of(put.id) is not None and view.row_of(put.id, caller) is None
        if kept.holds(at) and not hidden:
            allowed.append(put)
        else:
            problem = Problem("forbidden", f"This key's filter does not let it write document {put.id[:80]!r}.")
            failed.append(WriteFailure(put.place, put.id, problem.as_dict()))
    return allowed


async def _encoded(state: AppState, puts: Sequence[_Put], deadline: Deadline) -> list[Write]:
    texts = [put.text for put in puts if put.text is not None]
    encoded: list[Encoded] = []
    if texts:
        assert state.batcher is not None  # `_checked` saw to it
        encoded = await deadline.limit(state.batcher.encode_many(texts, "document"))
        state.metrics.tokens.inc(sum(one.tokens for one in encoded))
        state.metrics.cpu.inc(sum(one.cpu_s for one in encoded))
    vectors = (one.vector for one in encoded)
    writes = []
    for put in puts:
        vector = next(vectors) if put.vector is None else put.vector
        text_hash = b"" if put.text is None else hash_texts([put.text]).tobytes()
        writes.append(Write(put.id, vector.astype("<f4", copy=False).tobytes(), put.payload, text_hash))
    return writes


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}"


def _took_ms(start_s: float) -> float:
    return round((time.perf_counter() - start_s) * 1e3, 3)


def _response(answer: PutAnswer | DeleteAnswer) -> Response:
    return Response(answers.encode(answer), headers={"cache-control": "no-store"}, media_type="application/json")
