"""The vector that a query comes down to (given, encoded from its text, or made of documents that it names), and how far
to look."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

import numpy as np
from msgspec import UNSET, UnsetType

from index.search.finding import Effort
from service.access.caller import Caller
from service.query.admission import Deadline
from service.query.app_state import AppState
from service.query.batcher import Vector
from service.query.searched import SearchView, Survived
from service.wire.answer.search import QueryEncoder
from service.wire.problems import Problem
from service.wire.request.search import SearchRequest
from service.wire.request.vectors import vector_of

NO_VECTOR: Vector = np.zeros(0, np.float32)


class Resolved(NamedTuple):
    """The vector that a query comes down to; of no elements where it is searched by words alone.

    Args:
        rows: the documents it asks to be like or unlike, which are no hits themselves.
        cached: the text was seen before, and not encoded again.
        encoder: what made the vector of a text.
    """

    vector: Vector
    rows: tuple[int, ...] = ()
    tokens: int = 0
    cpu_s: float = 0.0
    cached: bool = False
    encoder: QueryEncoder | UnsetType = UNSET


def wanted(query: SearchRequest, resolved: Resolved) -> int:
    """How many rows to look for: more than k by the documents themselves, which will be among them."""
    return query.k + len(resolved.rows)


def effort_of(query: SearchRequest) -> tuple[Effort | None, bool]:
    """How hard to look, and whether every vector is compared."""
    return (None, False) if query.params is None else (query.params.effort, query.params.exact)


async def resolve(
    state: AppState,
    view: SearchView,
    caller: Caller,
    query: SearchRequest,
    deadline: Deadline,
    keep: Survived | None = None,
) -> Resolved:
    """The vector of a query. With documents that hits should be unlike it is the point as far on the other side of what
    they should be like: twice the one, less the mean of the others."""
    near = await _near(state, view, caller, query, deadline, keep)
    if query.not_ids is None:
        return near
    rows = await _rows(view, caller, query.not_ids, "/not_ids", deadline, keep)
    vector = near.vector
    if view.metric == "cosine":  # as long as those of documents, or the longer one would decide alone
        vector = vector / (np.linalg.norm(vector) or np.float32(1))
    return near._replace(vector=2 * vector - _mean(view, rows), rows=tuple(dict.fromkeys((*near.rows, *rows))))


async def _rows(
    view: SearchView, caller: Caller, ids: list[str], at: str, deadline: Deadline, keep: Survived | None
) -> list[int]:
    """Of documents; raises Problem for one that is not there."""
    found = await asyncio.gather(*(view.document(id_, caller, deadline, keep) for id_ in ids))
    for place, (id_, row) in enumerate(zip(ids, found, strict=True)):
        if row is None:
            raise Problem(
                "document-not-found", f"Generation {view.id} has no document {id_!r}.", pointer=f"{at}/{place}"
            )
    return [row for row in found if row is not None]


def _mean(view: SearchView, rows: list[int]) -> Vector:
    mean: Vector = np.mean([view.rows.vector(row) for row in rows], axis=0, dtype=np.float32)
    return mean


async def _near(
    state: AppState,
    view: SearchView,
    caller: Caller,
    query: SearchRequest,
    deadline: Deadline,
    keep: Survived | None,
) -> Resolved:
    if query.vector is not None:
        return Resolved(vector_of(query.vector, view.dim))
    if query.id is not None:
        row = await view.document(query.id, caller, deadline, keep)
        if row is None:
            raise Problem(
                "document-not-found",
                f"Generation {view.id} has no document {query.id!r}.",
                pointer="/id",
            )
        return Resolved(view.rows.vector(row), (row,))
    if query.ids is not None:
        rows = await _rows(view, caller, query.ids, "/ids", deadline, keep)
        return Resolved(_mean(view, rows), tuple(dict.fromkeys(rows)))
    assert query.text is not None  # `check_search` saw to it
    if query.mode in ("lexical", "sparse"):
        return Resolved(NO_VECTOR)
    if view.model is None or state.batcher is None:
        raise Problem(
            "invalid-value",
            f"Generation {view.id} was built from bare vectors and knows no model to encode a text with: send a "
            "vector or an id, or embed the documents with `perwatt embed` and build the index from that.",
            pointer="/text",
        )
    encoded = await deadline.limit(state.batcher.submit(query.text, fitted=view.fitted))
    by: QueryEncoder = "fitted" if encoded.fitted else "model"
    (state.metrics.encoded_by_fitted if encoded.fitted else state.metrics.encoded_by_model).inc()
    return Resolved(encoded.vector, (), encoded.tokens, encoded.cpu_s, encoded.cached, by)
