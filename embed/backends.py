"""Starts an encoder by backend; what a backend needs is imported when it is chosen."""

from __future__ import annotations

from embed.encoder import Encoder
from embed.errors import ModelError
from embed.models import ModelFolder
from embed.fingerprint import Fingerprint
from embed.encoder import Backend


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
