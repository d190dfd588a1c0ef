"""A model that encodes queries by another network than documents, both into one space.

The two share no tokens, so this is no LocalEncoder: whoever asks for a vector says which kind of text it is of.
"""

from __future__ import annotations

from collections.abc import Sequence

from embed.encoders.contract import Counts, Encoder, Kind, Vectors
from embed.models.fingerprint import Fingerprint


class AsymmetricEncoder:
    """
    Args:
        fingerprint: of both networks together.
    """

    calls_at_once = 1

    def __init__(self, fingerprint: Fingerprint, documents: Encoder, queries: Encoder) -> None:
        self._fingerprint, self._documents, self._queries = fingerprint, documents, queries

    @property
    def fingerprint(self) -> Fingerprint:
        return self._fingerprint

    @property
    def dim(self) -> int:
        return self._fingerprint.dim

    @property
    def backend(self) -> str:
        return self._documents.backend

    def encode(self, texts: Sequence[str], kind: Kind = "document") -> Vectors:
        return self.encode_counted(texts, kind)[0]

    def encode_counted(self, texts: Sequence[str], kind: Kind = "document") -> tuple[Vectors, Counts]:
        return (self._queries if kind == "query" else self._documents).encode_counted(texts, kind)

    def token_offsets(self, text: str) -> list[tuple[int, int]]:
        """Of a document."""
        return self._documents.token_offsets(text)

    def close(self) -> None:
        self._documents.close()
        self._queries.close()
