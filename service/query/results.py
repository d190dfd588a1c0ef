"""Hits with their payloads, how much was covered, and what it cost: the result of a query, of one search or of more."""

from __future__ import annotations

import time

from msgspec import UNSET
from msgspec.structs import replace

from service.query.admission import Deadline
from service.query.ranked.paging import Paged
from service.query.ranked.ranking import RankedHits, Survivors
from service.query.resolving import Resolved, effort_of, wanted
from service.query.searched import SearchView, Survived
from service.wire.answer.search import BatchResult, Coverage, Explanation, Hit, RankPlace, Scores, Usage
from service.wire.request.search import SearchRequest


def result_of(
    view: SearchView,
    query: SearchRequest,
    resolved: Resolved,
    keep: Survived | None,
    rows: list[int],
    scores: list[float],
    scored: int,
    search_cpu_s: float,
) -> BatchResult:
    """Hits with their payloads; `rows` are best first and padded with −1."""
    start_s = time.perf_counter()  # nothing here waits, so this is processor time, without a system call
    name, payload, fields = view.rows.external_id, view.payload, query.fields
    hits = [
        Hit(name(row), score, payload(row, fields))
        for row, score in zip(rows, scores, strict=True)
        if row >= 0 and row not in resolved.rows
    ]
    del hits[query.k :]
    if query.explain:
        hits = [replace(hit, explain=Explanation(RankPlace(rank, hit.score))) for rank, hit in enumerate(hits, 1)]
    effort, exact = effort_of(query)
    cpu_s = resolved.cpu_s + search_cpu_s + time.perf_counter() - start_s
    return BatchResult(
        hits,
        Coverage(
            Survivors(None, keep, resolved.rows).count(view),
            view.compares_all(exact, wanted(query, resolved), keep, effort),
            False,
            *view.answered,
            view.codes,
        ),
        Usage(resolved.tokens, scored, round(cpu_s * 1e3, 4), int(resolved.cached), resolved.encoder),
    )


def result_of_ranked(
    view: SearchView, query: SearchRequest, resolved: Resolved, kept: Survivors, ranked: RankedHits, paged: Paged | None
) -> BatchResult:
    start_s = time.perf_counter()
    name, payload, judged = view.rows.external_id, view.payload, ranked.judged
    fused = query.mode == "hybrid"
    hits = [
        Hit(
            name(hit.row),
            hit.score,
            payload(hit.row, query.fields),
            Scores(hit.dense, hit.lexical, hit.sparse) if fused else None,
            hit.explain,
        )
        for hit in ranked.hits
    ]
    cpu_s = resolved.cpu_s + ranked.cpu_s + time.perf_counter() - start_s
    return BatchResult(
        hits,
        Coverage(
            kept._replace(own=resolved.rows).count(view),
            ranked.exact,
            paged is not None and paged.partial,
            *view.answered,
            view.codes and query.mode in ("dense", "hybrid"),
            ranked.unweighed,
        ),
        Usage(
            resolved.tokens,
            ranked.scored,
            round(cpu_s * 1e3, 4),
            int(resolved.cached),
            resolved.encoder,
            UNSET if judged is None else len(judged.scores),
            UNSET if judged is None else judged.tokens,
        ),
        None if paged is None else paged.next_cursor,
    )


async def marked(view: SearchView, query: SearchRequest, result: BatchResult, deadline: Deadline) -> BatchResult:
    """The result with the words of the query highlighted in its hits, where that is asked for."""
    if query.highlight is None or query.text is None:
        return result
    found = await view.highlights(query.text, query.highlight, [hit.id for hit in result.hits], deadline)
    pairs = zip(result.hits, found.fragments, strict=True)
    usage = replace(result.usage, cpu_ms=round(result.usage.cpu_ms + found.cpu_s * 1e3, 4))
    return replace(result, hits=[replace(hit, highlights=each or None) for hit, each in pairs], usage=usage)
