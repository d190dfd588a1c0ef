"""One query, from body to bytes: decode → admit → resolve to a vector → search → payload → encode.

This is the hot route. It takes the raw request and gives back bytes: msgspec decodes into typed
structs and encodes out of them, payloads are spliced in as they lie in the file, and FastAPI's own
validation, which would do all of it again, is not involved. The stages are functions of their own
because a batch runs the same ones over many queries.
"""

from __future__ import annotations

import time
from typing import NamedTuple

import numpy as np
from starlette.requests import Request
from starlette.responses import Response

from index.bitmap import Bitmap
from service import answers, cursor, filters, limits, requests
from service.admission import Deadline
from service.answers import BatchResult, Coverage, Hit, Scores, SearchAnswer, Usage
from service.batcher import Vector
from service.caller import Caller, caller_of
from service.limits import read_body
from service.loaded import Loaded
from service.problems import Problem
from service.ranking import Ranked, Ranking, Survivors
from service.requests import SearchRequest
from service.running import Running, running_of

EVERYTHING = Survivors()
NO_VECTOR: Vector = np.zeros(0, np.float32)


class Stages(NamedTuple):
    """Seconds of a query in each stage of the path."""

    filter: float
    embed: float
    ann: float
    lexical: float
    payload: float


class Paged(NamedTuple):
    """partial: there is no further page, and yet there may be further hits."""

    next_cursor: str | None
    partial: bool = False


class Resolved(NamedTuple):
    """The vector that a query comes down to; of no elements where it is searched by words alone.
    row: the document it asks to be similar to, which is no hit itself."""

    vector: Vector
    row: int | None = None
    tokens: int = 0
    cpu_s: float = 0.0


async def search(request: Request) -> Response:
    running = running_of(request)
    body = await read_body(request.scope, request.receive, limits.BODY_BYTES)
    caller = caller_of(request.scope)
    content, timing = await answer(running, caller, request.path_params["index"], body, time.perf_counter())
    return Response(content, headers={"server-timing": timing}, media_type="application/json")


async def answer(running: Running, caller: Caller, index: str, body: bytes, start_s: float) -> tuple[bytes, str]:
    """JSON of the answer to the query in `body`, and its Server-Timing; raises Problem.

    It never waits when the query is a vector or an id, its search is short and a place is free: then one step of the
    coroutine is all of it. caller: who asks, with the filter that its key may impose. start_s: `time.perf_counter`
    when the body was complete, from which the deadline runs.
    """
    query = limits.decode(requests.SEARCH, body)
    requests.check(query)
    deadline = deadline_of(running, query.timeout_ms, start_s)
    async with running.admission.place(deadline):
        with running.served.loaded(index) as loaded:
            expect(query, loaded)
            filter_s = time.perf_counter()
            kept = await survivors(loaded, caller, query, deadline)
            embed_s = time.perf_counter()
            resolved = await resolve(running, loaded, caller, query, deadline)
            deadline.check()
            ann_s = time.perf_counter()
            lexical_s = 0.0
            if is_plain(query):
                effort, exact = effort_of(query)
                searched = await loaded.search(
                    resolved.vector.reshape(1, -1), wanted(query, resolved), effort, exact, deadline, kept.keep
                )
                payload_s = time.perf_counter()
                found = searched.found
                result = result_of(
                    loaded,
                    query,
                    resolved,
                    kept.keep,
                    found.rows[0].tolist(),
                    found.scores[0].tolist(),
                    int(found.scored[0]),
                    searched.cpu_s,
                )
            else:
                ranked, paged = await rank(loaded, query, resolved, kept, deadline)
                lexical_s, payload_s = ranked.lexical_s, time.perf_counter()
                result = result_of_ranked(loaded, query, resolved, kept, ranked, paged)
            end_s = time.perf_counter()
            deadline.check()
            content = answers.encode(
                SearchAnswer(
                    running.served.name_of(loaded),
                    loaded.id,
                    loaded.model,
                    result.hits,
                    result.coverage,
                    result.usage,
                    round((end_s - start_s) * 1e3, 3),
                    result.next_cursor,
                )
            )
    filtered_s = 0.0 if kept.filter is None else embed_s - filter_s
    stages = Stages(filtered_s, ann_s - embed_s, payload_s - ann_s - lexical_s, lexical_s, end_s - payload_s)
    observe(running, result.usage, stages)
    return content, server_timing(stages)


def is_plain(query: SearchRequest) -> bool:
    """Whether one search of vectors is all that a query takes: the hot way, and what a batch does for many at once."""
    return query.mode == "dense" and query.group_by is None and query.cursor is None


async def rank(
    loaded: Loaded, query: SearchRequest, resolved: Resolved, kept: Survivors, deadline: Deadline
) -> tuple[Ranked, Paged | None]:
    """Rows of a query that takes more than one search of vectors, and the page that they are, when pages are asked
    for. The page begins where the cursor of the one before ended."""
    kept = kept._replace(own=resolved.row)
    vector = None if query.mode == "lexical" else resolved.vector
    ranking = Ranking(loaded, query, vector, kept, deadline)
    if query.cursor is None:
        return await ranking.hits(query.k, None), None
    asked = cursor.digest(
        query.text,
        query.id,
        None if query.vector is None else resolved.vector.tobytes(),
        query.mode,
        query.group_by,
        query.params,
        None if kept.filter is None else kept.filter.key,
    )
    after = cursor.decode(query.cursor, loaded.id, asked, loaded.count) if query.cursor else None
    ranked = await ranking.hits(query.k, after)
    seen = (after.seen if after else 0) + len(ranked.hits)
    if not ranked.more or seen >= limits.PAGED:
        return ranked, Paged(None, ranked.more or ranked.cut)
    last = ranked.hits[-1]
    following = cursor.Cursor(loaded.id, asked, seen, last.score, last.row, ranking.depth)
    return ranked, Paged(cursor.encode(following))


def deadline_of(running: Running, timeout_ms: int | None, start_s: float) -> Deadline:
    return Deadline(timeout_ms if timeout_ms is not None else running.settings.timeout_s * 1e3, start_s)


def expect(query: SearchRequest, loaded: Loaded) -> None:
    """Raises Problem precondition-failed when the query relies on another generation or model."""
    if query.expect is None:
        return
    for what, expected, got in (
        ("generation", query.expect.generation, loaded.id),
        ("model", query.expect.model, loaded.model),
    ):
        if expected is not None and expected != got:
            raise Problem(
                "precondition-failed",
                f"The query expects {what} {expected}, and {got} answers here.",
                pointer=f"/expect/{what}",
                expected=expected,
                got=got,
            )


async def survivors(loaded: Loaded, caller: Caller, query: SearchRequest, deadline: Deadline) -> Survivors:
    """What the query's filter and that of the caller's key let through."""
    asked = filters.conjoin(filters.parse(query.filter), filters.of_key(caller.filter))
    return EVERYTHING if asked is None else Survivors(asked, await loaded.survivors(asked, deadline))


async def resolve(
    running: Running, loaded: Loaded, caller: Caller, query: SearchRequest, deadline: Deadline
) -> Resolved:
    if query.vector is not None:
        return Resolved(requests.vector_of(query.vector, loaded.dim))
    if query.id is not None:
        row = loaded.row_of(query.id, caller)
        if row is None:
            raise Problem(
                "document-not-found",
                f"Generation {loaded.id} has no document {query.id!r}.",
                pointer="/id",
            )
        return Resolved(loaded.generation.vector(row), row)
    assert query.text is not None  # `requests.check` saw to it
    if query.mode == "lexical":
        return Resolved(NO_VECTOR)
    if loaded.model is None or running.batcher is None:
        raise Problem(
            "invalid-value",
            f"Generation {loaded.id} was built from bare vectors and knows no model to encode a text with: send a "
            "vector or an id, or embed the documents with `perwatt embed` and build the index from that.",
            pointer="/text",
        )
    encoded = await deadline.limit(running.batcher.submit(query.text))
    return Resolved(encoded.vector, None, encoded.tokens, encoded.cpu_s)


def wanted(query: SearchRequest, resolved: Resolved) -> int:
    """How many rows to look for: one more than k when the document itself will be among them."""
    return query.k if resolved.row is None else query.k + 1


def effort_of(query: SearchRequest) -> tuple[int | None, bool]:
    return (None, False) if query.params is None else (query.params.effort, query.params.exact)


def result_of(
    loaded: Loaded,
    query: SearchRequest,
    resolved: Resolved,
    keep: Bitmap | None,
    rows: list[int],
    scores: list[float],
    scored: int,
    search_cpu_s: float,
) -> BatchResult:
    """Hits with their payloads; `rows` are best first and padded with −1."""
    start_s = time.perf_counter()  # nothing here waits, so this is processor time, without a system call
    name, payload, fields = loaded.generation.external_id, loaded.payload, query.fields
    hits = [
        Hit(name(row), score, payload(row, fields))
        for row, score in zip(rows, scores, strict=True)
        if row >= 0 and row != resolved.row
    ]
    del hits[query.k :]
    effort, exact = effort_of(query)
    cpu_s = resolved.cpu_s + search_cpu_s + time.perf_counter() - start_s
    return BatchResult(
        hits,
        Coverage(
            survivors=Survivors(None, keep, resolved.row).count(loaded),
            exact=loaded.compares_all(exact, keep, effort),
            partial=False,
        ),
        Usage(resolved.tokens, scored, round(cpu_s * 1e3, 4)),
    )


def result_of_ranked(
    loaded: Loaded, query: SearchRequest, resolved: Resolved, kept: Survivors, ranked: Ranked, paged: Paged | None
) -> BatchResult:
    start_s = time.perf_counter()
    name, payload = loaded.generation.external_id, loaded.payload
    fused = query.mode == "hybrid"
    hits = [
        Hit(
            name(hit.row),
            hit.score,
            payload(hit.row, query.fields),
            Scores(hit.dense, hit.lexical) if fused else None,
        )
        for hit in ranked.hits
    ]
    cpu_s = resolved.cpu_s + ranked.cpu_s + time.perf_counter() - start_s
    return BatchResult(
        hits,
        Coverage(kept._replace(own=resolved.row).count(loaded), ranked.exact, paged is not None and paged.partial),
        Usage(resolved.tokens, ranked.scored, round(cpu_s * 1e3, 4)),
        None if paged is None else paged.next_cursor,
    )


def observe(running: Running, usage: Usage, stages: Stages) -> None:
    metrics = running.metrics
    if stages.filter:
        metrics.filter.observe(stages.filter)
    if stages.lexical:
        metrics.lexical.observe(stages.lexical)
    if usage.tokens:
        metrics.embed.observe(stages.embed)
        metrics.tokens.inc(usage.tokens)
    metrics.ann.observe(stages.ann)
    metrics.payload.observe(stages.payload)
    metrics.vectors_scored.inc(usage.vectors_scored)
    metrics.cpu.inc(usage.cpu_ms / 1e3)


def server_timing(stages: Stages) -> str:
    """Stages in their order; filter and lexical only where there was one."""
    timing = f"embed;dur={stages.embed * 1e3:.3f}, ann;dur={stages.ann * 1e3:.3f}"
    if stages.filter:
        timing = f"filter;dur={stages.filter * 1e3:.3f}, {timing}"
    if stages.lexical:
        timing = f"{timing}, lexical;dur={stages.lexical * 1e3:.3f}"
    return f"{timing}, payload;dur={stages.payload * 1e3:.3f}"
