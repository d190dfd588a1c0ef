"""A real encoder of another kind: words hashed into a vector. Fast, deterministic, and the same on every machine.

It serves where a test is about files, windows or kills and not about the model. Its vectors carry a trace of the batch
they were computed in (one part in ten thousand), as those of a dynamically quantised model do: whoever claims that a
resumed run gives the same bytes has to give it the same batches."""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from embed.models.fingerprint import Fingerprint

WORD = re.compile(r"\w+|[^\w\s]")
MAX_LENGTH = 64


class HashingEncoder:
    """`embedded` lists every text it was given, `calls` counts the batches."""

    def __init__(self, dim: int = 24, name: str = "hashing", batch_trace: float = 1e-4) -> None:
        self.dim = dim
        self.fingerprint = Fingerprint(
            name=name,
            weights_sha256=hashlib.sha256(f"{name} {dim} {batch_trace}".encode()).hexdigest(),
            tokenizer_sha256=hashlib.sha256(WORD.pattern.encode()).hexdigest(),
            pooling="mean",
            normalize=True,
            query_prefix="",
            document_prefix="",
            max_length=MAX_LENGTH,
            precision="fp32",
            dim=dim,
        )
        self.embedded: list[str] = []
        self.calls = 0
        self._batch_trace = batch_trace

    def encode(self, texts: Sequence[str], kind: str = "document") -> npt.NDArray[np.float32]:
        return self.encode_counted(texts, kind)[0]

    def encode_counted(
        self, texts: Sequence[str], kind: str = "document"
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int32]]:
        self.embedded.extend(texts)
        self.calls += 1
        words = [WORD.findall(text.lower())[: MAX_LENGTH - 2] for text in texts]
        vectors = np.array([self._vector(each) for each in words], dtype=np.float32).reshape(-1, self.dim)
        vectors += self._batch_trace * _random("\0".join(texts), self.dim)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors, np.array([len(each) + 2 for each in words], dtype=np.int32)

    def token_offsets(self, text: str) -> list[tuple[int, int]]:
        return [match.span() for match in WORD.finditer(text)]

    def close(self) -> None:
        pass

    def _vector(self, words: Sequence[str]) -> npt.NDArray[np.float64]:
        return sum((_random(word, self.dim) for word in words), start=_random("", self.dim))


@functools.lru_cache(maxsize=4096)
def _random(word: str, dim: int) -> npt.NDArray[np.float64]:
    digest = hashlib.shake_128(word.encode()).digest(2 * dim)
    return np.frombuffer(digest, dtype=np.uint16) / 32768.0 - 1.0
