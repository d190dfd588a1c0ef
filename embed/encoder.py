"""Texts to vectors.

`load_encoder` gives an encoder by backend: our own kernels, which run BERT-shaped models in int8 and fp32; ONNX
Runtime, for other models; or sentence-transformers on PyTorch, the reference. Their surface is small on purpose, so
that another way of running a model is one more file. A backend is imported when it is chosen: serving with our
kernels loads neither ONNX Runtime nor PyTorch.

The backend is not part of the fingerprint: the same precision by another backend agrees within the stated tolerance, so
an index built with one serves with the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from embed.errors import ModelError
from embed.fingerprint import Fingerprint
from embed.models import ModelFolder, find_model

Kind = Literal["document", "query"]
Backend = Literal["auto", "native", "onnx", "torch"]
Vectors = npt.NDArray[np.float32]
Counts = npt.NDArray[np.int32]

PRECISIONS = ("fp32", "int8")


class Encoder(Protocol):
    """What the pipeline and the service need of a model. Safe to call from several threads."""

    @property
    def fingerprint(self) -> Fingerprint: ...

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


def load_encoder(
    model: str | Path | None = None,
    *,
    precision: str | None = None,
    backend: Backend = "auto",
    threads: int | None = None,
    query_prefix: str | None = None,
    document_prefix: str | None = None,
) -> Encoder:
    """The encoder of a model folder, a hub name, or (None) all-MiniLM-L6-v2.

    precision: "int8" or "fp32"; by default int8 for a BERT-shaped model whose int8 vectors stay near enough to fp32's,
    which is measured when the model is first loaded on a machine (`precision.choose`), and fp32 for another. torch runs
    fp32 only.
    backend: "auto" takes native where the model's shape allows it, and onnx otherwise, which needs the onnx extra;
    `Encoder.backend` says which it took.
    threads: of one call; by default the cores this process may use, by affinity and cgroup.
    query_prefix, document_prefix: put before each text; by default what the model's own configuration names.
    Raises ModelError.
    """
    if precision not in (None, *PRECISIONS):
        raise ModelError(f"Precision {precision!r} is not known, expected one of {PRECISIONS}.")
    if threads is not None and threads < 1:
        raise ModelError(f"{threads} threads were asked for, expected at least 1.")
    folder = find_model(model)
    if precision is None:
        from embed.precision import choose

        precision = "fp32" if backend == "torch" else choose(folder, backend).precision
    fingerprint = fingerprint_of(folder, precision)
    if query_prefix is not None:
        fingerprint = replace(fingerprint, query_prefix=query_prefix)
    if document_prefix is not None:
        fingerprint = replace(fingerprint, document_prefix=document_prefix)
    return start(folder, fingerprint, backend, threads or usable_cores())


def fingerprint_of(folder: ModelFolder, precision: str) -> Fingerprint:
    """What the model's own configuration says, in a precision."""
    return Fingerprint(
        name=folder.name,
        weights_sha256=folder.weights_sha256,
        tokenizer_sha256=folder.tokenizer_sha256,
        pooling=folder.pooling,
        normalize=folder.normalize,
        query_prefix=folder.query_prefix,
        document_prefix=folder.document_prefix,
        max_length=folder.max_length,
        precision=precision,
        dim=folder.dim,
    )


def start(folder: ModelFolder, fingerprint: Fingerprint, backend: Backend, threads: int) -> Encoder:
    """The encoder of a described model by backend, which is imported here. Raises ModelError."""
    if backend == "torch":
        from embed.torch_encoder import TorchEncoder

        return TorchEncoder(folder, fingerprint, threads)
    from embed.native_encoder import NativeEncoder, unsuited

    why = unsuited(folder)
    if backend == "native" or (backend == "auto" and why is None):
        return NativeEncoder(folder, fingerprint, threads)
    try:
        from embed.onnx_encoder import OnnxEncoder
    except ImportError as error:
        raise ModelError(
            f"{folder.name} was to run in ONNX Runtime{f', since {why}' if why else ''}; but {error.name} is not "
            "installed. Install perwatt with its onnx extra (from a checkout: make setup-onnx; in an image: "
            "--build-arg RUNTIME=onnx), or use a BERT-shaped model, which needs nothing else."
        ) from None
    return OnnxEncoder(folder, fingerprint, threads)


def usable_cores() -> int:
    """The cores this process may use, by affinity and cgroup."""
    from loky import cpu_count  # takes 50 ms to import: a worker, which is told its threads, does without

    return int(cpu_count())


def prefixed(texts: Sequence[str], fingerprint: Fingerprint, kind: Kind) -> Sequence[str]:
    prefix = fingerprint.query_prefix if kind == "query" else fingerprint.document_prefix
    return [prefix + text for text in texts] if prefix else texts
