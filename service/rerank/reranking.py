"""Runs a reranker beside the event loop: on one thread where the model runs here, on several where it runs elsewhere.

A search that was given up before its turn costs nothing: its work is taken back.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

from embed.errors import EncoderError
from service.rerank.texts import text_of
from service.wire import limits
from service.wire.problems import Problem, encoder_unavailable
from service.wire.request.search import SearchRequest

if TYPE_CHECKING:
    from embed.rerankers.contract import Reranker

READ = 50  # hits, where a search does not say: beyond it the gain is small and the cost is not


class Judged(NamedTuple):
    """
    Args:
        scores: one a document, in their order.
        spent_s: from asking to the answer, waiting included.
    """

    scores: list[float]
    tokens: int
    cpu_s: float
    spent_s: float


class Reranking:
    """
    Args:
        threads: of one call of a model that runs here; with more than one its cost is taken from the whole process.
    """

    def __init__(self, reranker: Reranker, threads: int = 1) -> None:
        self._reranker = reranker
        at_once = reranker.calls_at_once
        self._cpu_clock = time.thread_time if threads == 1 or at_once > 1 else time.process_time
        self._threads = ThreadPoolExecutor(at_once, thread_name_prefix="rerank")

    @property
    def name(self) -> str:
        return self._reranker.name

    @property
    def backend(self) -> str:
        return self._reranker.backend

    async def judged(self, query: str, payloads: Sequence[bytes]) -> Judged:
        """The documents of `payloads`, scored. Raises Problem where none of them has a text, or the model fails."""
        texts = [text_of(payload) for payload in payloads]
        if texts and not any(texts):
            raise Problem(
                "invalid-value",
                "None of the hits has a title or text in its payload for the reranker to read: leave rerank out, or "
                "embed the documents with their text.",
                pointer="/rerank",
            )
        start_s = time.perf_counter()
        try:
            scores, tokens, cpu_s = await asyncio.wrap_future(self._threads.submit(self._judge, query, texts))
        except EncoderError as error:
            raise encoder_unavailable("reranker", error.why, error.retry_after_s) from None
        return Judged(scores, tokens, cpu_s, time.perf_counter() - start_s)

    def _judge(self, query: str, texts: Sequence[str]) -> tuple[list[float], int, float]:
        start_s = self._cpu_clock()
        relevance = self._reranker.scores(query, texts)
        return relevance.scores.tolist(), relevance.tokens, self._cpu_clock() - start_s

    def close(self) -> None:
        self._reranker.close()
        self._threads.shutdown(wait=True, cancel_futures=True)


def hits_to_read(reranking: Reranking | None, query: SearchRequest) -> int:
    """How many of the best hits are read for a query that asks for it. Raises the Problem of one that cannot be."""
    asked = query.rerank
    assert asked is not None
    if reranking is None:
        raise Problem("invalid-value", "No reranker is loaded here: leave rerank out.", pointer="/rerank")
    if asked.model not in (None, reranking.name):
        raise Problem(
            "model-mismatch",
            f"The reranker here is {reranking.name}, the request names {asked.model!r}; leave model out.",
            pointer="/rerank/model",
            expected=reranking.name,
            got=asked.model,
        )
    top = max(query.k, READ) if asked.top is None else asked.top
    if not query.k <= top <= limits.RERANKED:
        raise Problem(
            "invalid-value",
            f"k is {query.k} and the reranker would read {top} hits: it reads at least k, and at most "
            f"{limits.RERANKED}.",
            pointer="/rerank/top",
        )
    return top
