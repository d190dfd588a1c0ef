"""Recall: as it was measured when a generation was built, and as it is now."""

from __future__ import annotations

from msgspec import Struct


class Recall(Struct, frozen=True):
    """Measured when the generation was built, at its default effort, with the 95 % interval."""

    k: int
    value: float
    low: float
    high: float
    queries: int


class RecallAnswer(Struct, frozen=True):
    """Recall@k of the generation that answers now against an exact search, with the 95 % interval. queries: how many;
    method: where they came from. ann_ms, exact_ms: of one query, the mean."""

    index: str
    generation: str
    k: int
    effort: int
    recall: float
    low: float
    high: float
    queries: int
    method: str
    survivors: int
    ann_ms: float
    exact_ms: float
    took_ms: float
