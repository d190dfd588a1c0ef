"""Vectors of texts, in OpenAI's shape."""

from __future__ import annotations

from msgspec import Struct


class Embedding(Struct, frozen=True):
    """embedding: numbers, or with encoding_format base64 the base64 of little-endian float32
    bytes."""

    index: int
    embedding: list[float] | str
    object: str = "embedding"


class EmbeddingsUsage(Struct, frozen=True, omit_defaults=True):
    """cached, which OpenAI does not have: inputs of type query that were not encoded, because their vectors were kept
    from the last time; absent where it is 0."""

    prompt_tokens: int
    total_tokens: int
    cached: int = 0


class EmbeddingsAnswer(Struct, frozen=True):
    data: list[Embedding]
    model: str
    usage: EmbeddingsUsage
    object: str = "list"
