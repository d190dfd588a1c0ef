"""A reranker on a server elsewhere: `POST /rerank` of text-embeddings-inference, or in Cohere's shape.

text-embeddings-inference is known by `GET /info` (docs/openapi.json of its version 1.7.1) and takes `texts`; anything
else is asked as Cohere's API is (https://docs.cohere.com/reference/rerank, v2), which Jina, vLLM and others share:
`documents` and a `model`, answered by `results` with `index` and `relevance_score`.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import msgspec
import numpy as np

from embed.encoders.contract import AT_ONCE
from embed.encoders.remote.endpoint import Endpoint, Patience, RemoteAnswer
from embed.encoders.remote.shapes import BATCH, told
from embed.errors import EncoderError, ModelError
from embed.rerankers.contract import Relevance

KEY_VARIABLE = "PERWATT_RERANKER_KEY"


class _TeiInfo(msgspec.Struct):
    model_id: str
    max_client_batch_size: int = BATCH


class _TeiRank(msgspec.Struct):
    index: int
    score: float


class _CohereRank(msgspec.Struct):
    index: int
    relevance_score: float


class _CohereRanks(msgspec.Struct):
    results: list[_CohereRank]
    usage: dict[str, Any] | None = None


class RemoteReranker:
    """
    Args:
        address: Of the server, with or without the path of its route.
        model: Its name there; a text-embeddings-inference has one and names it itself.

    Raises:
        ModelError: No model is named, or another one is there.
        EncoderError: The server does not answer.
    """

    calls_at_once = AT_ONCE

    def __init__(self, address: str, model: str | None, patience: Patience) -> None:
        self._endpoint = Endpoint(address, AT_ONCE, patience, KEY_VARIABLE)
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="rerank")
        try:
            root = self._endpoint.address.removesuffix("/rerank")
            info = told(self._endpoint, f"{root}/info", _TeiInfo)
            self._tei, self._batch = info is not None, 1000 if info is None else max(1, info.max_client_batch_size)
            if info is not None and model not in (None, info.model_id):
                raise ModelError(f"The reranker at {address} has model {info.model_id!r}, and {model!r} was asked for.")
            if info is None and model is None:
                raise ModelError(
                    f"The reranker at {address} does not say which model it has; name it: MODEL@{address}."
                )
            self.name = str(model if info is None else info.model_id)
            plain = urlsplit(root).path in ("", "/") and info is None and not address.endswith("/rerank")
            self._url = f"{root}/v2/rerank" if plain else f"{root}/rerank"
            self.scores("canary", ["a document"])
        except BaseException:
            self.close()
            raise

    @property
    def backend(self) -> str:
        return f"{'text-embeddings-inference' if self._tei else 'cohere'} at {self._endpoint.address}"

    def scores(self, query: str, documents: Sequence[str]) -> Relevance:
        parts = [documents[at : at + self._batch] for at in range(0, len(documents), self._batch)]
        if len(parts) == 1:
            return self._asked(query, parts[0])
        done = list(self._pool.map(lambda part: self._asked(query, part), parts))
        return Relevance(
            np.concatenate([np.empty(0, np.float32), *(one.scores for one in done)]), sum(one.tokens for one in done)
        )

    def close(self) -> None:
        self._endpoint.close()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _asked(self, query: str, documents: Sequence[str]) -> Relevance:
        if self._tei:
            body: dict[str, Any] = {"query": query, "texts": documents, "truncate": True, "raw_scores": True}
        else:
            body = {"model": self.name, "query": query, "documents": documents, "top_n": len(documents)}
        answer = self._endpoint.post(self._url, body)
        try:
            ranks, tokens = self._read(answer)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            ranks, tokens = {}, 0
        scores = np.array([ranks.get(place, np.nan) for place in range(len(documents))], np.float32)
        if not np.isfinite(scores).all() or len(ranks) != len(documents):
            raise EncoderError(
                self._endpoint.address, f"answers with no scores: expected one for each of {len(documents)} documents."
            )
        return Relevance(scores, tokens)

    def _read(self, answer: RemoteAnswer) -> tuple[dict[int, float], int]:
        if self._tei:
            said = answer.headers.get("x-compute-tokens", "")
            listed = msgspec.json.decode(answer.content, type=list[_TeiRank])
            return {one.index: one.score for one in listed}, int(said) if said.isdigit() else 0
        found = msgspec.json.decode(answer.content, type=_CohereRanks)
        tokens = (found.usage or {}).get("total_tokens", 0)
        return {one.index: one.relevance_score for one in found.results}, tokens if isinstance(tokens, int) else 0
