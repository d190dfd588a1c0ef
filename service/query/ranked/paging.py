"""Rows of a query in pages, each cut where the cursor of the one before ended; or read anew by a reranker."""

from __future__ import annotations

from typing import NamedTuple

from msgspec.structs import replace

from service.query.admission import Deadline
from service.query.app_state import AppState
from service.query.ranked.ranking import RankedHits, Ranking, Survivors
from service.query.resolving import Resolved
from service.query.searched import SearchView
from service.rerank.reranking import hits_to_read
from service.wire import cursor, limits
from service.wire.request.search import SearchRequest


class Paged(NamedTuple):
    """
    Args:
        partial: there is no further page, and yet there may be further hits.
    """

    next_cursor: str | None
    partial: bool = False


async def rank(
    state: AppState, view: SearchView, query: SearchRequest, resolved: Resolved, kept: Survivors, deadline: Deadline
) -> tuple[RankedHits, Paged | None]:
    """Rows of a query that takes more than one search of vectors, and the page that they are, when pages are asked
    for. The page begins where the cursor of the one before ended."""
    if query.rerank is not None:
        top = hits_to_read(state.reranking, query)
        found, _ = await rank(state, view, replace(query, k=top, rerank=None), resolved, kept, deadline)
        return await reranked(state, view, query, found, deadline), None
    kept = kept._replace(own=resolved.rows)
    vector = None if query.mode == "lexical" else resolved.vector
    ranking = Ranking(view, query, vector, kept, deadline)
    if query.cursor is None:
        return await ranking.hits(query.k, None), None
    asked = cursor.digest(
        query.text,
        query.id,
        query.ids,
        query.not_ids,
        None if query.vector is None else resolved.vector.tobytes(),
        query.mode,
        query.group_by,
        query.params,
        None if kept.filter is None else kept.filter.key,
    )
    after = cursor.decode(query.cursor, view.id, asked, view.page_rows) if query.cursor else None
    pinned = view.page_rows
    if after is not None and after.rows < pinned:
        # Without what was put since the first page, so that a document that was replaced meanwhile does not come twice.
        view, keep = view.as_of(after.rows, kept.keep)
        ranking, pinned = Ranking(view, query, vector, kept._replace(keep=keep), deadline), after.rows
    ranked = await ranking.hits(query.k, after)
    seen = (after.seen if after else 0) + len(ranked.hits)
    if not ranked.more or seen >= limits.PAGED:
        return ranked, Paged(None, ranked.more or ranked.cut)
    last = ranked.hits[-1]
    row, id_ = view.page_mark(last.row)
    following = cursor.Cursor(view.id, asked, seen, last.score, row, ranking.depth, pinned, id_)
    return ranked, Paged(cursor.encode(following))


async def reranked(
    state: AppState, view: SearchView, query: SearchRequest, found: RankedHits, deadline: Deadline
) -> RankedHits:
    """The best k of `found` by the reranker's scores, equal ones in the order of the search."""
    assert state.reranking is not None  # `hits_to_read` saw to it
    assert query.text is not None  # … and `check_search` to this
    deadline.check()
    await view.bring([hit.row for hit in found.hits], deadline)
    payloads = [bytes(view.payload(hit.row, None)) for hit in found.hits]
    judged = await deadline.limit(state.reranking.judged(query.text, payloads))
    hits = [hit._replace(score=score) for hit, score in zip(found.hits, judged.scores, strict=True)]
    hits.sort(key=lambda hit: -hit.score)
    return found._replace(hits=hits[: query.k], cpu_s=found.cpu_s + judged.cpu_s, judged=judged)
