"""Starts an encoder by backend; what a backend needs is imported when it is chosen."""

from __future__ import annotations

from dataclasses import replace

from embed.encoders.contract import Backend, Encoder
from embed.errors import ModelError
from embed.models.fingerprint import Fingerprint, fingerprint_of
from embed.models.folder import ModelFolder


def start(folder: ModelFolder, fingerprint: Fingerprint, backend: Backend, threads: int) -> Encoder:
    """The encoder of a described model by backend, which is imported here. Raises ModelError."""
    from embed.encoders.native import NativeEncoder, unsuited

    if folder.queries is not None:
        return _asymmetric(folder, folder.queries, fingerprint, backend, threads)
    why = unsuited(folder)
    if backend == "native" or (backend == "auto" and why is None):
        return NativeEncoder(folder, fingerprint, threads)
    if fingerprint.precision != "fp32":  # the int8 of another runtime is another recipe, with other vectors
        raise ModelError(
            f"Only perwatt's own kernels run a model in {fingerprint.precision}, and {folder.name} was to run on "
            f"{'ONNX Runtime' if backend == 'auto' else backend}{f', since {why}' if why else ''}. Leave --precision "
            "out, or take fp32; an index that was made in int8 elsewhere has to be embedded again."
        )
    if backend == "torch":
        from embed.encoders.torch import TorchEncoder

        return TorchEncoder(folder, fingerprint, threads)
    try:
        from embed.encoders.onnx import OnnxEncoder
    except ImportError as error:
        raise ModelError(
            f"{folder.name} was to run in ONNX Runtime{f', since {why}' if why else ''}; but {error.name} is not "
            "installed. Install perwatt with its onnx extra (from a checkout: make setup-onnx; in an image: "
            "--build-arg RUNTIME=onnx); PyTorch has to export the model for it once, anywhere (make setup-torch). A "
            "BERT-shaped model of usual widths needs neither."
        ) from None
    return OnnxEncoder(folder, fingerprint, threads)


def _asymmetric(
    folder: ModelFolder, queries: ModelFolder, fingerprint: Fingerprint, backend: Backend, threads: int
) -> Encoder:
    """Two networks, each on our kernels: another runtime would not know which of them a text is for."""
    from embed.encoders.asymmetric import AsymmetricEncoder
    from embed.encoders.native import NativeEncoder, unsuited

    for side, what in ((folder, "documents"), (queries, "queries")):
        if backend not in ("auto", "native") or (why := unsuited(side)):
            because = f"--backend is {backend}" if backend not in ("auto", "native") else f"for {what} {why}"
            raise ModelError(
                f"{folder.name} encodes queries by another network than documents, which perwatt's own kernels alone "
                f"run, and {because}."
            )
    if queries.dim != folder.dim:
        raise ModelError(f"{folder.name} gives queries {queries.dim} numbers and documents {folder.dim}.")
    sides = [
        NativeEncoder(
            side,
            replace(
                fingerprint_of(side, fingerprint.precision),
                dim=fingerprint.dim,
                query_prefix=fingerprint.query_prefix,
                document_prefix=fingerprint.document_prefix,
            ),
            threads,
        )
        for side in (replace(folder, queries=None), queries)
    ]
    return AsymmetricEncoder(fingerprint, *sides)


def usable_cores() -> int:
    """The cores this process may use, by affinity and cgroup."""
    from loky import cpu_count  # takes 50 ms to import: a worker, which is told its threads, does without

    return int(cpu_count())
