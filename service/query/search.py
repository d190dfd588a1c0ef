"""One query, from body to bytes: decode → admit → resolve to a vector → search → payload → encode.

This is the hot route. msgspec decodes the raw request into typed structs and encodes the answer from them, payloads are
spliced in as they lie in the file, and FastAPI's own validation, which would repeat all of it, is not involved. The
stages are separate functions because a batch runs the same ones over many queries.
"""

from __future__ import annotations

import time
from typing import NamedTuple

from service.access.caller import Caller
from service.query.admission import Deadline
from service.query.app_state import AppState
from service.query.ranked.paging import rank
from service.query.ranked.ranking import Survivors
from service.query.resolving import effort_of, resolve, wanted
from service.query.results import marked, result_of, result_of_ranked
from service.query.searched import SearchView
from service.wire import filters, limits
from service.wire.answer.search import SearchAnswer, Usage, whole
from service.wire.encoding import encode
from service.wire.problems import Problem
from service.wire.request.search import SEARCH, Expect, SearchRequest, check_search

EVERYTHING = Survivors()
_OPTIONAL = ("filter", "lexical", "sparse", "rerank")


class Stages(NamedTuple):
    """Seconds of a query in each stage of the path; `filter`, `lexical`, `sparse` and `rerank` are 0 where there was
    none."""

    filter: float
    embed: float
    ann: float
    lexical: float
    payload: float
    rerank: float = 0.0
    sparse: float = 0.0

    def there_were(self) -> dict[str, float]:
        """Seconds by stage, in their order."""
        return {name: spent_s for name, spent_s in self._asdict().items() if spent_s or name not in _OPTIONAL}

    def server_timing(self) -> str:
        """The value of the header: as `there_were`, at a third of its price, since every search has one."""
        timing = f"embed;dur={self.embed * 1e3:.3f}, ann;dur={self.ann * 1e3:.3f}"
        if self.filter:
            timing = f"filter;dur={self.filter * 1e3:.3f}, {timing}"
        if self.lexical:
            timing = f"{timing}, lexical;dur={self.lexical * 1e3:.3f}"
        if self.sparse:
            timing = f"{timing}, sparse;dur={self.sparse * 1e3:.3f}"
        if self.rerank:
            timing = f"{timing}, rerank;dur={self.rerank * 1e3:.3f}"
        return f"{timing}, payload;dur={self.payload * 1e3:.3f}"


class Answered(NamedTuple):
    """A search that was answered: what is sent, and what headers and spans say of it.

    Args:
        content: the JSON of the answer.
        generation: the id of the generation that was searched.
    """

    content: bytes
    stages: Stages
    usage: Usage
    generation: str


async def answer(state: AppState, caller: Caller, index: str, body: bytes, start_s: float) -> Answered:
    """The answer to the query in `body`.

    When the query is a vector, an id or a text that was seen before, its search is short and a place is free, nothing
    is awaited: the first step of the coroutine is also its last.

    Args:
        caller: who asks, with the filter that its key may impose.
        start_s: `time.perf_counter` when the body was complete; the deadline runs from there.

    Raises:
        Problem: what the caller is told instead.
    """
    query = limits.decode(SEARCH, body)
    check_search(query)
    deadline = deadline_of(state, query.timeout_ms, start_s)
    async with state.admission.place(deadline):
        with state.registry.loaded(index) as loaded:
            query = state.asked(loaded, query)
            view = await loaded.view_for(query, deadline)
            expect(query.expect, view)
            filter_s = time.perf_counter()
            kept = await survivors(view, caller, query, deadline)
            embed_s = time.perf_counter()
            resolved = await resolve(state, view, caller, query, deadline, kept.keep)
            deadline.check()
            ann_s = time.perf_counter()
            lexical_s = sparse_s = rerank_s = 0.0
            if is_plain(query):
                effort, exact = effort_of(query)
                searched = await view.search(
                    resolved.vector.reshape(1, -1), wanted(query, resolved), effort, exact, deadline, kept.keep
                )
                payload_s = time.perf_counter()
                result = result_of(view, query, resolved, kept.keep, *searched.of(0), searched.cpu_s)
            else:
                ranked, paged = await rank(state, view, query, resolved, kept, deadline)
                await view.bring([hit.row for hit in ranked.hits], deadline)
                lexical_s, sparse_s, payload_s = ranked.lexical_s, ranked.sparse_s, time.perf_counter()
                rerank_s = 0.0 if ranked.judged is None else ranked.judged.spent_s
                result = result_of_ranked(view, query, resolved, kept, ranked, paged)
            if query.highlight is not None:
                result = await marked(view, query, result, deadline)
            end_s = time.perf_counter()
            deadline.check()
            content = encode(
                SearchAnswer(
                    view.name,
                    view.id,
                    view.model,
                    result.hits,
                    result.coverage,
                    result.usage,
                    round((end_s - start_s) * 1e3, 3),
                    result.next_cursor,
                    view.seq,
                )
            )
    filtered_s = 0.0 if kept.filter is None else embed_s - filter_s
    searched_s = payload_s - ann_s - lexical_s - sparse_s - rerank_s
    stages = Stages(filtered_s, ann_s - embed_s, searched_s, lexical_s, end_s - payload_s, rerank_s, sparse_s)
    observe(state, caller, 1, result.usage, stages)
    return Answered(content, stages, result.usage, view.id)


def is_plain(query: SearchRequest) -> bool:
    """Whether one search of vectors is all that a query takes: the hot way, and what a batch does for many at once."""
    return query.mode == "dense" and query.group_by is None and query.cursor is None and query.rerank is None


def deadline_of(state: AppState, timeout_ms: int | None, start_s: float) -> Deadline:
    return Deadline(timeout_ms if timeout_ms is not None else state.timeout_s * 1e3, start_s)


def expect(relied_on: Expect | None, view: SearchView) -> None:
    """Raises Problem precondition-failed when the query relies on another generation or model."""
    if relied_on is None:
        return
    for what, expected, got in (
        ("generation", relied_on.generation, view.id),
        ("model", relied_on.model, view.model),
    ):
        if expected is not None and expected != got:
            raise Problem(
                "precondition-failed",
                f"The query expects {what} {expected}, and {got} answers here.",
                pointer=f"/expect/{what}",
                expected=expected,
                got=got,
            )


async def survivors(view: SearchView, caller: Caller, query: SearchRequest, deadline: Deadline) -> Survivors:
    """What the query's filter and that of the caller's key let through."""
    asked = filters.conjoin(filters.parse(query.filter), filters.of_key(caller.filter))
    return EVERYTHING if asked is None else Survivors(asked, await view.survivors(asked, deadline))


def observe(state: AppState, caller: Caller, queries: int, usage: Usage, stages: Stages) -> None:
    metrics = state.metrics
    if stages.filter:
        metrics.filter.observe(stages.filter)
    if stages.lexical:
        metrics.lexical.observe(stages.lexical)
    if stages.sparse:
        metrics.sparse.observe(stages.sparse)
    if stages.rerank:
        metrics.rerank.observe(stages.rerank)
    metrics.rerank_tokens.inc(whole(usage.rerank_tokens))
    if usage.tokens:
        metrics.embed.observe(stages.embed)
    metrics.ann.observe(stages.ann)
    metrics.payload.observe(stages.payload)
    state.count(
        caller,
        queries=queries,
        tokens=usage.tokens,
        vectors_scored=usage.vectors_scored,
        cpu_s=usage.cpu_ms / 1e3,
    )
