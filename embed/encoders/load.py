"""`load_encoder`: the encoder of a model by backend and precision.

Serving with our kernels loads neither ONNX Runtime nor PyTorch: a backend is imported when it is chosen. The
backend is not part of the fingerprint: the same precision by another backend agrees within the stated tolerance,
so an index built with one serves with the other.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from embed.encoders.backends import start, usable_cores
from embed.encoders.contract import PRECISIONS, Backend, Encoder
from embed.errors import ModelError
from embed.models.fingerprint import REMOTE, fingerprint_of
from embed.models.folder import find_model


def load_encoder(
    model: str | Path | None = None,
    *,
    precision: str | None = None,
    backend: Backend = "auto",
    threads: int | None = None,
    query_prefix: str | None = None,
    document_prefix: str | None = None,
    dim: int | None = None,
) -> Encoder:
    """The encoder of a model folder, a hub name, or (None) all-MiniLM-L6-v2.

    Args:
        precision: "int8" or "fp32". By default int8 for a model that our kernels run and whose int8 vectors stay near
            enough to fp32's, which is measured when the model is first loaded on a machine (`precision.choose`), and
            fp32 for another. Only our kernels run int8.
        backend: "auto" takes native where the model's shape allows it, and onnx otherwise, which needs the onnx extra,
            and the torch extra once; `Encoder.backend` says which it took.
        threads: Of one call; by default the cores this process may use, by affinity and cgroup.
        query_prefix: Put before each query; by default what the model's own configuration names.
        document_prefix: The same for documents.
        dim: The first so many numbers of a vector alone, of length 1 if the whole ones are: for a model that was
            trained so that they say most (Matryoshka).

    Raises:
        ModelError: There is no such model, or it cannot be run as asked.
    """
    if precision == REMOTE:
        raise ModelError(
            f"{model} ran on a server elsewhere, and nobody here knows its weights. Say where it is with --encoder URL."
        )
    if precision not in (None, *PRECISIONS):
        raise ModelError(f"Precision {precision!r} is not known, expected one of {PRECISIONS}.")
    if threads is not None and threads < 1:
        raise ModelError(f"{threads} threads were asked for, expected at least 1.")
    folder = find_model(model)
    if precision is None:
        from embed.encoders.precision import choose

        precision = choose(folder).precision if backend in ("auto", "native") else "fp32"
    fingerprint = fingerprint_of(folder, precision)
    if query_prefix is not None:
        fingerprint = replace(fingerprint, query_prefix=query_prefix)
    if document_prefix is not None:
        fingerprint = replace(fingerprint, document_prefix=document_prefix)
    if dim is not None and not 1 <= dim <= folder.dim:
        raise ModelError(f"{dim} dimensions were asked for, and {folder.name} has {folder.dim}.")
    if dim is not None:
        fingerprint = replace(fingerprint, dim=dim)
    return start(folder, fingerprint, backend, threads or usable_cores())
