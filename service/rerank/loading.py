"""The reranker that the operator named, loaded before the first search."""

from __future__ import annotations

from service.rerank.reranking import Reranking
from service.settings import TRIES, Settings


def reranking_of(settings: Settings) -> Reranking | None:
    """None where none was named. Raises EmbedError where it is not there, or cannot be run."""
    if settings.reranker is None:
        return None
    from embed import load_reranker
    from embed.encoders.remote.endpoint import Patience

    patience = Patience(settings.timeout_s, TRIES)
    return Reranking(load_reranker(settings.reranker, threads=settings.threads, patience=patience), settings.threads)
