"""Runs a BERT-shaped model on this project's own kernels: no graph, no runtime, no padding.

Texts are laid end to end and cut into chunks by tokens; a chunk goes through the whole network in one call on one
thread, with the interpreter released, and chunks share nothing but the mapped weights. That is why many cores scale
without a barrier, and why a text's vector does not depend on what it was encoded with, nor on the number of threads.

A chunk is as large as lets the weights of a layer, read from the third-level cache, serve many tokens, and as small as
lets its activations stay in the second. Between 64 and 2,048 tokens that makes less than a tenth of a difference
(all-MiniLM-L6-v2, one Sapphire Rapids core with 2 MB of second-level cache, texts of 16 and of 256 tokens); at 4,096 a
fifth to two fifths is lost. A call with several threads cuts smaller when it must to give each thread work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from embed.encoders.contract import Counts, Vectors
from embed.encoders.packed_bert import layer_count, packed_bert, packed_layers
from embed.encoders.projection import Projection
from embed.encoders.tokens import TokenEncoder
from embed.errors import ModelError
from embed.kernels import _native, packing, unit_in_use
from embed.models.fingerprint import Fingerprint
from embed.models.folder import ModelFolder

CHUNK_TOKENS = 512

HEAD_WIDTHS = (32, 64)  # that attention is compiled for
WIDTH_UNIT = 64  # of hidden and inner: the inputs of one tile

ACTIVATIONS = {"gelu": "gelu", "gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "relu": "relu"}
# Of a layer, in the order of `add_layer`; a matrix is followed by its scales (int8) or its bias (fp32).
LAYER_PARTS = ("qkv", "attended", "attention_norm", "inner", "outer", "norm")


def unsuited(folder: ModelFolder) -> str | None:
    """Why the native encoder cannot run this model, as the end of a sentence, or None when it can."""
    if not folder.bert_shaped:
        return f"it is a {folder.config.get('model_type')} model with {folder.pooling} pooling, not BERT-shaped"
    hidden, heads = int(folder.config["hidden_size"]), int(folder.config["num_attention_heads"])
    inner = int(folder.config["intermediate_size"])
    if hidden % heads or hidden // heads not in HEAD_WIDTHS:
        return f"its heads are {hidden / heads:g} wide, and {HEAD_WIDTHS} are supported"
    if hidden % WIDTH_UNIT or inner % WIDTH_UNIT:
        return f"its widths {hidden} and {inner} are not multiples of {WIDTH_UNIT}"
    return None


class NativeEncoder(TokenEncoder):
    """int8 and fp32. Safe to call from several threads; each call uses up to `threads` of its own pool.

    keep: whether the packed model stays in the cache for the next start.
    pairs: whether words of segment 1 are there too, behind those of segment 0.
    """

    def __init__(
        self, folder: ModelFolder, fingerprint: Fingerprint, threads: int, keep: bool = True, pairs: bool = False
    ) -> None:
        why = unsuited(folder)
        if why:
            raise ModelError(f"--backend native cannot run {folder.name}: {why}. Use --backend onnx.")
        unit = unit_in_use()
        super().__init__(folder, fingerprint, f"native {unit}")
        self._folder, self._unit = folder, unit
        self._packing = packing(unit) if fingerprint.precision == "int8" else None
        self._width = int(folder.config["hidden_size"])
        self._projection = None
        if folder.dense or fingerprint.dim != self._width:
            self._projection = Projection(folder.dense, self._width, fingerprint.dim, folder.normalize)
        self._packed = packed_bert(folder, fingerprint.weights_sha256, self._packing, keep, pairs)
        self._model = self._network(self._packed, int(folder.config["num_hidden_layers"]))
        self._threads = threads
        self._pool = ThreadPoolExecutor(
            threads, thread_name_prefix="encode"
        )  # starts a thread when there is work for it

    @property
    def folder(self) -> ModelFolder:
        return self._folder

    @property
    def vocabulary(self) -> int:
        """How many tokens it knows."""
        return len(self._packed["words"])

    def with_layers(self, layers: Mapping[str, Vectors]) -> NativeEncoder:
        """This encoder with other layers between the same tokenizer, embeddings and pooling; it shares the threads.

        Args:
            layers: float32 tensors by their BERT names, as many layers as there are.
        """
        other = copy(self)
        packed = self._packed | packed_layers(self._folder, layers, self._packing)
        other._model = self._network(packed, layer_count(layers))
        return other

    def encode_ids(self, ids: Sequence[Sequence[int]], lengths: Counts) -> Vectors:
        pooled = self._pooled(ids, lengths)
        return pooled if self._projection is None else self._projection(pooled)

    def _pooled(self, ids: Sequence[Sequence[int]], lengths: Counts) -> Vectors:
        vectors = np.empty((len(ids), self._width), np.float32)
        if len(ids) == 1:  # a query: what comes out of the caches for it is part of its time
            self._model.encode(np.array(ids[0], np.int32), lengths, vectors)
            return vectors

        def run(rows: slice) -> None:
            ends = np.cumsum(lengths[rows], dtype=np.int32)
            flat = np.fromiter(chain.from_iterable(ids[rows]), np.int32, int(ends[-1]))
            self._model.encode(flat, ends, vectors[rows])

        self._in_chunks(run, lengths)
        return vectors

    def token_states(self, ids: Sequence[Sequence[int]]) -> list[Vectors]:
        """Of a model whose pooling is "tokens", of each text what the last layer gives, float32 (tokens, hidden)."""
        lengths = np.array([len(each) for each in ids], np.int32)
        ends = np.cumsum(lengths, dtype=np.int64)
        states = np.empty((int(lengths.sum(dtype=np.int64)), self._width), np.float32)

        def run(rows: slice) -> None:
            flat = np.fromiter(chain.from_iterable(ids[rows]), np.int32, int(lengths[rows].sum()))
            first = int(ends[rows.start] - lengths[rows.start])
            self._model.encode(flat, np.cumsum(lengths[rows], dtype=np.int32), states[first : first + len(flat)])

        self._in_chunks(run, lengths)
        return np.split(states, ends[:-1].tolist()) if len(ends) else []

    def _in_chunks(self, run: Callable[[slice], None], lengths: Counts) -> None:
        wanted = list(chunks(lengths, self._threads))
        if len(wanted) > 1 and self._threads > 1:
            for _ in self._pool.map(run, wanted):
                pass
        else:
            for rows in wanted:
                run(rows)

    def _network(self, tensors: Mapping[str, npt.NDArray[Any]], layers: int) -> _native.Bert:
        normalize = self._folder.normalize and self._projection is None
        return _network(self._folder, self._unit, tensors, layers, normalize=normalize)

    def close(self) -> None:
        """Chunks under way end; a call that has more of them raises in its own thread."""
        self._pool.shutdown(cancel_futures=True)


def chunks(lengths: Counts, threads: int, budget: int = CHUNK_TOKENS) -> Iterator[slice]:
    """Consecutive rows of at most `budget` tokens, or one row; fewer tokens where that gives each thread a chunk."""
    tokens = int(lengths.sum(dtype=np.int64))
    budget = max(1, min(budget, -(-tokens // threads)))
    start, held = 0, 0
    for row, length in enumerate(lengths.tolist()):
        if held and held + length > budget:
            yield slice(start, row)
            start, held = row, 0
        held += length
    if held:
        yield slice(start, len(lengths))


def _network(
    folder: ModelFolder, unit: str, tensors: Mapping[str, npt.NDArray[Any]], layers: int, *, normalize: bool
) -> _native.Bert:
    config, int8 = folder.config, tensors["words"].dtype != np.float32
    model = _native.Bert(
        unit,
        tensors["words"],
        tensors["positions"],
        tensors["norm"],
        heads=int(config["num_attention_heads"]),
        epsilon=float(config.get("layer_norm_eps", 1e-12)),
        activation=ACTIVATIONS[config["hidden_act"]],
        pooling=folder.pooling,
        normalize=normalize,
    )
    for layer in range(layers):
        parts: list[npt.NDArray[Any]] = []
        for part in LAYER_PARTS:
            parts.append(tensors[f"{layer}.{part}"])
            if not part.endswith("norm"):
                parts.append(tensors[f"{layer}.{part}.{'scales' if int8 else 'bias'}"])
        model.add_layer(*parts)
        orders = [tensors[order] for part in LAYER_PARTS if (order := f"{layer}.{part}.order") in tensors]
        if orders:
            model.add_orders(*orders)
    return model
