"""One query, from body to bytes: decode → admit → resolve to a vector → search → payload → encode.

This is the hot route. It takes the raw request and gives back bytes: msgspec decodes into typed
structs and encodes out of them, payloads are spliced in as they lie in the file, and FastAPI's own
validation, which would do all of it again, is not involved. The stages are functions of their own
because a batch runs the same ones over many queries.
"""

from __future__ import annotations

import time
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import Response

from index.bitmap import Bitmap
from service import answers, filters, limits, requests
from service.admission import Deadline
from service.answers import BatchResult, Coverage, Hit, SearchAnswer, Usage
from service.batcher import Vector
from service.caller import Caller, caller_of
from service.limits import read_body
from service.loaded import Loaded
from service.problems import Problem
from service.requests import SearchRequest
from service.running import Running, running_of


class Resolved(NamedTuple):
    """The vector that a query comes down to. row: the document it asks to be similar to, which is
    no hit itself."""

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
            keep = await survivors(loaded, caller, query, deadline)
            embed_s = time.perf_counter()
            resolved = await resolve(running, loaded, caller, query, deadline)
            deadline.check()
            ann_s = time.perf_counter()
            effort, exact = effort_of(query)
            searched = await loaded.search(
                resolved.vector.reshape(1, -1), wanted(query, resolved), effort, exact, deadline, keep
            )
            payload_s = time.perf_counter()
            found = searched.found
            result = result_of(
                loaded,
                query,
                resolved,
                keep,
                found.rows[0].tolist(),
                found.scores[0].tolist(),
                int(found.scored[0]),
                searched.cpu_s,
            )
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
                )
            )
    observe(running, result.usage, ann_s - embed_s, payload_s - ann_s, end_s - payload_s)
    return content, server_timing(ann_s - embed_s, payload_s - ann_s, end_s - payload_s)


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


async def survivors(loaded: Loaded, caller: Caller, query: SearchRequest, deadline: Deadline) -> Bitmap | None:
    """The rows that the query's filter and that of the caller's key keep, None for all."""
    asked = filters.conjoin(filters.parse(query.filter), filters.of_key(caller.filter))
    return await loaded.survivors(asked, deadline)


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
    if loaded.model is None or running.batcher is None:
        raise Problem(
            "invalid-value",
            f"Generation {loaded.id} was built from bare vectors and knows no model to encode a text with: send a "
            "vector or an id, or embed the documents with `perwatt embed` and build the index from that.",
            pointer="/text",
        )
    encoded = await deadline.limit(running.batcher.encode(query.text))
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
    cpu_s = resolved.cpu_s + search_cpu_s + time.perf_counter() - start_s
    return BatchResult(
        hits,
        Coverage(
            survivors=_survivors(loaded, resolved, keep),
            exact=loaded.compares_all(effort_of(query)[1], keep),
            partial=False,
        ),
        Usage(resolved.tokens, scored, round(cpu_s * 1e3, 4)),
    )


def _survivors(loaded: Loaded, resolved: Resolved, keep: Bitmap | None) -> int:
    if keep is None:
        return loaded.count - (resolved.row is not None)
    return keep.count - (resolved.row is not None and keep.holds(resolved.row))


def observe(running: Running, usage: Usage, embed_s: float, ann_s: float, payload_s: float) -> None:
    metrics = running.metrics
    if usage.tokens:
        metrics.embed.observe(embed_s)
        metrics.tokens.inc(usage.tokens)
    metrics.ann.observe(ann_s)
    metrics.payload.observe(payload_s)
    metrics.vectors_scored.inc(usage.vectors_scored)
    metrics.cpu.inc(usage.cpu_ms / 1e3)


def server_timing(embed_s: float, ann_s: float, payload_s: float) -> str:
    return f"embed;dur={embed_s * 1e3:.3f}, ann;dur={ann_s * 1e3:.3f}, payload;dur={payload_s * 1e3:.3f}"
