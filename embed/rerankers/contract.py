"""What a reranker is: a query and documents in, a score for each document out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from embed.encoders.contract import Vectors


class Relevance(NamedTuple):
    """
    Args:
        scores: float32 (n,), one a document, in their order; more is more relevant, and only that is meant.
        tokens: that the model read; 0 where a server elsewhere does not say.
    """

    scores: Vectors
    tokens: int


class Reranker(Protocol):
    """Safe to call from several threads."""

    @property
    def name(self) -> str: ...

    @property
    def backend(self) -> str:
        """What runs the model, as of an encoder."""

    @property
    def calls_at_once(self) -> int:
        """How many calls are worth having under way: 1 where a call uses all the threads there are."""

    def scores(self, query: str, documents: Sequence[str]) -> Relevance: ...

    def close(self) -> None: ...
