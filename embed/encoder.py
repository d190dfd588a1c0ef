"""Texts to vectors.

`load_encoder` gives an encoder by backend: ONNX Runtime, which serves, or sentence-transformers on PyTorch, the
reference. Their surface is small on purpose, so that another way of running a model is one more file.

Texts are sorted by length and cut into batches by a budget of padded tokens, not by a count of texts: the work of a
batch and the memory of its activations are proportional to tokens, and one long text must not make thirty short ones
as wide as itself. The budget is small because the widest activation (tokens × 4 × hidden, float32) is reread at once
and should still lie in the second-level cache: measured on two cores with 238-token abstracts, 4 texts a batch gave
1.1 × the throughput of 16 and 1.3 × that of 32.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
from loky import cpu_count

from embed.errors import ModelError
from embed.fingerprint import Fingerprint
from embed.models import ModelFolder, find_model, sha256_file
from embed.prepared import prepared_graph
from embed.tokens import Tokens

Kind = Literal["document", "query"]
Vectors = npt.NDArray[np.float32]
Counts = npt.NDArray[np.int32]

PRECISIONS = ("fp32", "int8")
DEFAULT_PRECISION = "int8"

# Padded tokens a batch.
BATCH_TOKENS = 1024


class Encoder(Protocol):
    """What the pipeline and the service need of a model. Safe to call from several threads."""

    @property
    def fingerprint(self) -> Fingerprint: ...

    @property
    def dim(self) -> int: ...

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
    backend: Literal["onnx", "torch"] = "onnx",
    threads: int | None = None,
    query_prefix: str | None = None,
    document_prefix: str | None = None,
) -> Encoder:
    """The encoder of a model folder, a hub name, or (None) all-MiniLM-L6-v2.

    precision: "int8" or "fp32"; by default int8 for a BERT-shaped model and fp32 for another. torch runs fp32 only.
    threads: of one call; by default the cores this process may use, by affinity and cgroup.
    query_prefix, document_prefix: put before each text; by default what the model's own configuration names.
    Raises ModelError.
    """
    folder = find_model(model)
    if precision is None:
        precision = DEFAULT_PRECISION if backend == "onnx" and folder.bert_shaped else "fp32"
    if precision not in PRECISIONS:
        raise ModelError(f"Precision {precision!r} is not known, expected one of {PRECISIONS}.")
    if threads is not None and threads < 1:
        raise ModelError(f"{threads} threads were asked for, expected at least 1.")
    fingerprint = Fingerprint(
        name=folder.name,
        weights_sha256=sha256_file(folder.weights),
        tokenizer_sha256=sha256_file(folder.tokenizer),
        pooling=folder.pooling,
        normalize=folder.normalize,
        query_prefix=folder.query_prefix if query_prefix is None else query_prefix,
        document_prefix=folder.document_prefix if document_prefix is None else document_prefix,
        max_length=folder.max_length,
        precision=precision,
        dim=folder.dim,
    )
    threads = threads or cpu_count()
    if backend == "torch":
        from embed.torch_encoder import TorchEncoder

        return TorchEncoder(folder, fingerprint, threads)
    return OnnxEncoder(folder, fingerprint, threads)


class OnnxEncoder:
    """Runs the model's graph in ONNX Runtime."""

    def __init__(self, folder: ModelFolder, fingerprint: Fingerprint, threads: int) -> None:
        self._fingerprint = fingerprint
        self._tokens = Tokens(folder)
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.enable_mem_pattern = False  # remembers a plan for every shape it meets; ours all differ
        options.log_severity_level = 3
        # The graph comes fused as far as it pays; the further levels would fuse the residuals into a slower operator.
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
        graph = prepared_graph(folder, fingerprint.precision, fingerprint.weights_sha256)
        self._session = ort.InferenceSession(str(graph), options, ["CPUExecutionProvider"])

    @property
    def fingerprint(self) -> Fingerprint:
        return self._fingerprint

    @property
    def dim(self) -> int:
        return self._fingerprint.dim

    def encode(self, texts: Sequence[str], kind: Kind = "document") -> Vectors:
        return self.encode_counted(texts, kind)[0]

    def encode_counted(self, texts: Sequence[str], kind: Kind = "document") -> tuple[Vectors, Counts]:
        ids = self._tokens.ids(prefixed(texts, self._fingerprint, kind))
        lengths = np.array([len(each) for each in ids], np.int32)
        vectors = np.empty((len(ids), self.dim), np.float32)
        for rows in batches(lengths):
            width = int(lengths[rows[-1]])
            padded = np.zeros((len(rows), width), np.int64)
            mask = np.zeros((len(rows), width), np.int64)
            for place, row in enumerate(rows):
                padded[place, : lengths[row]] = ids[row]
                mask[place, : lengths[row]] = 1
            feed = {"input_ids": padded, "attention_mask": mask}
            vectors[rows] = self._session.run(["sentence_embedding"], feed)[0]
        return vectors, lengths

    def token_offsets(self, text: str) -> list[tuple[int, int]]:
        return self._tokens.offsets(text)

    def close(self) -> None:
        """Nothing to release that the garbage collector would not: kept so that every encoder can be closed."""


def prefixed(texts: Sequence[str], fingerprint: Fingerprint, kind: Kind) -> Sequence[str]:
    prefix = fingerprint.query_prefix if kind == "query" else fingerprint.document_prefix
    return [prefix + text for text in texts] if prefix else texts


def batches(lengths: Counts, budget: int = BATCH_TOKENS) -> Iterator[npt.NDArray[np.intp]]:
    """Row numbers grouped so that each group, padded to its longest, holds at most `budget` tokens, or one row.

    Within a group lengths ascend, so its last row is its longest. Ties keep their order.
    """
    order = np.argsort(lengths, kind="stable")
    start = 0
    for end in range(1, len(order) + 1):
        full = end < len(order) and (end - start + 1) * int(lengths[order[end]]) > budget
        if full or end == len(order):
            yield order[start:end]
            start = end
