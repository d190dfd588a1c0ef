"""What an encoder is: texts in, vectors out.

Four keep this contract: our own kernels, which run BERT-shaped models in int8 and fp32; ONNX Runtime, for other models
in fp32; sentence-transformers on PyTorch, the reference; and servers elsewhere. The first three run here and know the
model's tokens. It is small on purpose: another way to run a model is one more file.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from embed.models.fingerprint import Fingerprint

Kind = Literal["document", "query"]
Backend = Literal["auto", "native", "onnx", "torch"]
Vectors = npt.NDArray[np.float32]
Counts = npt.NDArray[np.int32]

PRECISIONS = ("fp32", "int8")
AT_ONCE = 8  # requests to an encoder elsewhere: enough to hide the way there and back from most of them


class Encoder(Protocol):
    """What the pipeline and the service need of a model. Safe to call from several threads."""

    @property
    def fingerprint(self) -> Fingerprint: ...

    @property
    def calls_at_once(self) -> int:
        """How many calls are worth having under way: 1 where a call uses all the threads there are."""

    @property
    def dim(self) -> int: ...

    @property
    def backend(self) -> str:
        """What runs the model, with its version or instruction set: "native avx512vnni", "onnx 1.23.0"."""

    def encode(self, texts: Sequence[str], kind: Kind = "document") -> Vectors:
        """float32 (n, dim), in the order of `texts`."""

    def encode_counted(self, texts: Sequence[str], kind: Kind = "document") -> tuple[Vectors, Counts]:
        """As `encode`, with the number of tokens the model read of each text, int32 (n,)."""

    def token_offsets(self, text: str) -> list[tuple[int, int]]:
        """Start and end character of each token of the uncut text, without special tokens."""

    def close(self) -> None: ...


@runtime_checkable
class LocalEncoder(Encoder, Protocol):
    """One that runs here and so knows what its model reads."""

    def token_ids(self, texts: Sequence[str], kind: Kind = "document") -> list[list[int]]:
        """What the model reads of each text: token ids with special tokens and prefix, cut at its length."""

    def encode_ids(self, ids: Sequence[Sequence[int]], lengths: Counts) -> Vectors:
        """float32 (n, dim), as `encode` of the texts that `ids` are of; none of them without a token.

        Args:
            lengths: of each of `ids`, int32 (n,).
        """


def prefixed(texts: Sequence[str], fingerprint: Fingerprint, kind: Kind) -> Sequence[str]:
    prefix = fingerprint.query_prefix if kind == "query" else fingerprint.document_prefix
    return [prefix + text for text in texts] if prefix else texts
