"""What a shard answers a router: its best rows and some documents (`wire/parts.py` says what can be asked)."""

from __future__ import annotations

import binascii
import time
from collections.abc import Sequence

import msgspec
import numpy as np

from service.access.caller import Caller
from service.query.admission import Deadline
from service.query.app_state import AppState
from service.query.ranked.ranking import Survivors, group_field
from service.query.search import EVERYTHING, Answered, Stages, deadline_of, observe
from service.query.searched import SearchView, Survived, Vectors
from service.query.served_view import ServedView
from service.routing.counting import counted_here
from service.wire import filters, limits, parts
from service.wire.answer.search import Usage
from service.wire.encoding import encode
from service.wire.parts import PartAnswer, PartCounts, PartDocument, PartList, PartRequest, Without
from service.wire.problems import Problem
from service.wire.request.vectors import packed


async def answer(state: AppState, caller: Caller, index: str, body: bytes, start_s: float) -> Answered:
    """Parameters and errors are those of `search.answer`."""
    asked, here = limits.decode(parts.PART, body), state.here
    assert here is not None  # a router has no such route
    _check(caller, asked)
    deadline = deadline_of(state, asked.timeout_ms, start_s)
    async with state.admission.place(deadline):
        with here.registry.loaded(index) as loaded:
            if asked.current:
                view = await loaded.view_to_write(deadline, asked.min_seq)
            else:
                view = await loaded.view_at(asked.min_seq, deadline)
            filter_ = filters.of_key(caller.filter)
            for raw in asked.filters:
                filter_ = filters.conjoin(filter_, filters.parse(raw))
            served: SearchView = view  # what survives a filter is whatever it says
            keep = await served.survivors(filter_, deadline)
            kept = EVERYTHING if filter_ is None else Survivors(filter_, keep)
            survivors = kept.count(view)
            count = view.count
            if (own := filters.of_key(caller.filter)) is not None:  # what it hides is not even counted
                count = Survivors(own, await served.survivors(own, deadline)).count(view)
            documents, counts, marked_s = [], None, 0.0
            if asked.facet is not None:
                counts = await _counts(view, caller, asked, kept, deadline)
            else:
                found_all = [await _document(view, caller, id_, asked, keep, deadline) for id_ in asked.documents or ()]
                documents = [document for document in found_all if document is not None]
            if asked.highlight is not None and asked.words is not None:
                ids = [document.id for document in documents]
                marked = await view.highlights(asked.words, asked.highlight, ids, deadline)
                marked_s, both = marked.cpu_s, zip(documents, marked.fragments, strict=True)
                documents = [msgspec.structs.replace(document, highlights=each or None) for document, each in both]
            if asked.value is not None:
                group_field(view, asked.value)
            ann_s = time.perf_counter()
            if asked.without is not None:
                kept = await _without(view, caller, asked.without, kept, deadline)
            dense, lexical, held = [], None, dict[str, int]()
            weighed, unweighed = None, 0
            cpu_s = lexical_s = sparse_s = 0.0
            if asked.vectors is not None:
                searched = await served.search(
                    _vectors(asked, view.dim), asked.k, asked.effort, asked.exact, deadline, kept.keep
                )
                cpu_s = searched.cpu_s
                dense = [_list(view, asked, *searched.of(query)) for query in range(asked.queries)]
            if asked.text is not None:
                matched = await view.search_words(
                    asked.text, asked.k, kept.filter, asked.exact, deadline, None, asked.held
                )
                lexical_s = matched.cpu_s
                lexical = _list(view, asked, matched.found.rows.tolist(), matched.found.scores.tolist())
                held = view.rows.new_words(asked.text) if asked.held is None else {}
            if asked.sparse is not None:
                matched = await served.search_sparse(asked.sparse, asked.k, deadline, kept.keep)
                sparse_s, unweighed = matched.cpu_s, matched.unweighed
                weighed = _list(view, asked, matched.found.rows.tolist(), matched.found.scores.tolist())
            end_s = time.perf_counter()
            deadline.check()
            cpu_ms = round((cpu_s + lexical_s + sparse_s + marked_s) * 1e3, 4)
            content = encode(
                PartAnswer(
                    view.id,
                    count,
                    survivors,
                    view.compares_all(asked.exact, asked.k, kept.keep, asked.effort),
                    cpu_ms,
                    dense,
                    lexical,
                    documents,
                    held,
                    counts,
                    packed(await view.sample(asked.sample, deadline)) if asked.sample else None,
                    view.seq,
                    round(lexical_s * 1e3, 4),
                    weighed,
                    round(sparse_s * 1e3, 4),
                    unweighed,
                )
            )
    usage = Usage(0, sum(each.scored for each in dense), cpu_ms)
    payload_s = time.perf_counter() - end_s
    searched_s = end_s - ann_s - lexical_s - sparse_s
    stages = Stages(0.0, ann_s - start_s, searched_s, lexical_s, payload_s, sparse=sparse_s)
    observe(state, caller, max(1, len(dense)), usage, stages)
    return Answered(content, stages, usage, view.id)


def _check(caller: Caller, asked: PartRequest) -> None:
    """Raises Problem for what a caller may not ask, or nobody may at once; charges what was asked beyond one query."""
    caller.charge(asked.queries - 1)
    if asked.sample and caller.filter is not None:
        raise Problem("forbidden", "A key with a filter may not draw from all documents.", pointer="/sample")
    if asked.highlight is not None and len(asked.documents or ()) > limits.HIGHLIGHTED:
        raise Problem(
            "invalid-value",
            f"Words are highlighted in up to {limits.HIGHLIGHTED} documents; these are {len(asked.documents or ())}.",
            pointer="/documents",
        )
    for name, each in (("k", asked.k), ("payloads", asked.payloads)):
        if asked.queries > 1 and asked.queries * each > limits.PART_HITS:
            raise Problem(
                "invalid-value",
                f"{asked.queries} queries with {name} of {each:,} come to more than {limits.PART_HITS:,}.",
                pointer=f"/{name}",
            )


def _vectors(asked: PartRequest, dim: int) -> Vectors:
    try:
        raw = binascii.a2b_base64((asked.vectors or "").encode("ascii"), strict_mode=True)
    except ValueError as error:  # binascii.Error and UnicodeEncodeError are
        raise Problem("invalid-value", f"vectors are not base64: {error}.", pointer="/vectors") from None
    if len(raw) != 4 * dim * asked.queries:
        raise Problem(
            "dimension-mismatch",
            f"{asked.queries} vectors of {dim} dimensions have {4 * dim * asked.queries:,} bytes, these {len(raw):,}.",
            pointer="/vectors",
        )
    return np.frombuffer(raw, "<f4").reshape(asked.queries, dim).astype(np.float32, copy=False)


def _list(
    view: SearchView, asked: PartRequest, rows: Sequence[int], scores: Sequence[float], scored: int = 0
) -> PartList:
    """A ranking with ids for rows, without its padding."""
    there = [row for row in rows if row >= 0]
    return PartList(
        [view.rows.external_id(row) for row in there],
        list(scores[: len(there)]),
        scored,
        None if asked.value is None else [view.rows.value(asked.value, row) for row in there],
        [view.payload(row, asked.fields) for row in there[: asked.payloads]],
    )


async def _without(
    view: SearchView, caller: Caller, without: Without, kept: Survivors, deadline: Deadline
) -> Survivors:
    """What is kept but for the documents that were left out."""
    name = group_field(view, without.field)
    kind = str if view.field_type(name) == "keyword" else int
    values = [value for value in without.values if isinstance(value, kind)]
    rows = [row for id_ in without.ids if (row := await view.document(id_, caller, deadline)) is not None]
    filter_, keep = view.without_groups(kept.filter, kept.keep, name, values, rows)
    return Survivors(filter_, keep)


async def _document(
    view: SearchView, caller: Caller, id_: str, asked: PartRequest, keep: Survived | None, deadline: Deadline
) -> PartDocument | None:
    row = await view.document(id_, caller, deadline)
    if row is None:
        return None
    vector = None
    if asked.vectors_of:
        vector = packed(view.rows.vector(row))
    return PartDocument(id_, keep is None or keep.holds(row), view.payload(row, asked.fields), vector)


async def _counts(
    view: ServedView, caller: Caller, asked: PartRequest, kept: Survivors, deadline: Deadline
) -> PartCounts:
    """What a facet counts among the documents that are named, or those that the filters keep."""
    assert asked.facet is not None
    keep, count = kept.keep, kept.count(view)
    if asked.documents is not None:
        rows = [row for id_ in asked.documents if (row := view.row_of(id_, caller)) is not None]
        keep, count = view.rows.only(np.array(rows, np.int64)), len(rows)
    return await counted_here(view, asked.facet, keep, count, limits.PART_VALUES, deadline)
