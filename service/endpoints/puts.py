"""Documents to put: checked like the documents of a build, encoded where they bring no vector, and weighed by the
sparse model where the index has weights.

A document that cannot be written gets a problem of its own, and the others are written. A key cannot write documents
that its filter hides or would hide.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from embed.vectors.vector_cache import hash_texts
from index import InputError
from index.changes.columns import ChangedColumns, check_payload
from index.changes.log_file import Write
from index.disk import codes
from index.search.bitmap import Bitmap
from index.search.filtering import Filter
from service.access.caller import Caller
from service.query.admission import Deadline
from service.query.app_state import AppState
from service.query.batcher import Encoded, Vector
from service.query.served_generation import ServedGeneration
from service.query.served_view import ServedView
from service.query.writes.weighing import Weighing
from service.rerank.texts import text_of
from service.wire import filters, limits
from service.wire.answer.documents import WriteFailure
from service.wire.problems import Problem
from service.wire.request.documents import PUT_DOCUMENT, id_in
from service.wire.request.vectors import vector_of

FULL_RETRY_AFTER_S = 60


class _Put(NamedTuple):
    """A document that may be written. text: to be encoded, None where it brought its vector."""

    place: int
    id: str
    payload: bytes
    text: str | None
    vector: Vector | None


async def writes_of(
    state: AppState,
    view: ServedView,
    caller: Caller,
    imposed: Filter | None,
    documents: Sequence[bytes],
    deadline: Deadline,
    weighing: Weighing,
) -> tuple[list[Write], list[WriteFailure]]:
    """The documents that may be written, with their vectors, and a problem for each other one in their order.

    Args:
        imposed: what a document has to pass, as it is and as it will be.
        weighing: by the sparse model of an index that has one.
    """
    failed: list[WriteFailure] = []
    puts: list[_Put] = []
    for place, raw in enumerate(documents):
        try:
            puts.append(_checked(state, view, place, raw))
        except Problem as problem:
            failed.append(WriteFailure(place, id_in(raw), problem.as_dict()))
    writes = await _encoded(state, caller, _allowed(view, imposed, puts, failed), deadline)
    weights = await deadline.limit(weighing.weights(view.generation, [write.payload or b"{}" for write in writes]))
    if weights is not None:
        writes = [write._replace(weights=each) for write, each in zip(writes, weights, strict=True)]
    return writes, sorted(failed, key=lambda one: one.place)


def require_room(loaded: ServedGeneration, documents: int) -> None:
    delta = loaded.follower.delta
    if delta is not None and delta.count + documents > limits.CHANGES:
        raise Problem(
            "quota-exceeded",
            f"{delta.count:,} documents were written since generation {loaded.id}, and an index takes "
            f"{limits.CHANGES:,} of them: build them in with `perwatt build --from-changes`.",
            headers={"retry-after": str(FULL_RETRY_AFTER_S)},
            changes=delta.count,
        )


def _checked(state: AppState, view: ServedView, place: int, raw: bytes) -> _Put:
    """Raises the Problem of a document that cannot be written."""
    given = limits.decode(PUT_DOCUMENT, raw)
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
        vector = vector_of(given.vector, view.dim)
        if codes.norms(vector.reshape(1, -1))[0] >= codes.LONGEST:
            raise Problem(
                "invalid-value",
                f"The vector is longer than {codes.LONGEST:g}, and no index ranks it.",
                pointer="/vector",
            )
        if view.generation.metric == "cosine" and not vector.any():
            raise Problem("invalid-value", "The vector is zero, which has no direction.", pointer="/vector")
        return _Put(place, given.id, payload, None, vector)
    text = given.text if given.text is not None else text_of(payload)
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


def _allowed(view: ServedView, imposed: Filter | None, puts: list[_Put], failed: list[WriteFailure]) -> list[_Put]:
    """The documents that the filter keeps, both as they will be and as they are now; the others go to `failed`."""
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
        row = view.rows.row_of(put.id)
        hidden = row is not None and not filters.holds(view.rows, imposed, row)
        if kept.holds(at) and not hidden:
            allowed.append(put)
        else:
            problem = Problem("forbidden", f"This key's filter does not let it write document {put.id[:80]!r}.")
            failed.append(WriteFailure(put.place, put.id, problem.as_dict()))
    return allowed


async def _encoded(state: AppState, caller: Caller, puts: Sequence[_Put], deadline: Deadline) -> list[Write]:
    texts = [put.text for put in puts if put.text is not None]
    encoded: list[Encoded] = []
    if texts:
        assert state.batcher is not None  # `_checked` saw to it
        encoded = await deadline.limit(state.batcher.encode_many(texts, "document"))
        state.count(caller, tokens=sum(one.tokens for one in encoded), cpu_s=sum(one.cpu_s for one in encoded))
    vectors = (one.vector for one in encoded)
    writes = []
    for put in puts:
        vector = next(vectors) if put.vector is None else put.vector
        text_hash = b"" if put.text is None else hash_texts([put.text]).tobytes()
        writes.append(Write(put.id, vector.astype("<f4", copy=False).tobytes(), put.payload, text_hash))
    return writes


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}"
