"""ScaNN (Guo et al., ICML 2020): a tree of partitions, anisotropic 4-bit codes, exact scores for the best."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from index.bench.ann.engine import Float, Metric, Setting


class Scann:
    """Effort is leaves visited; the best `second` · k are scored again."""

    _searcher: Any
    _threads = 0

    def build(self, vectors: Float, metric: Metric, threads: int, folder: Path) -> None:
        from scann.scann_ops.py import scann_ops_pybind

        leaves = max(1, round(2 * math.sqrt(len(vectors))))
        builder = scann_ops_pybind.builder(vectors, 10, "squared_l2" if metric == "l2" else "dot_product")
        builder = builder.tree(leaves, min(leaves, 20), training_sample_size=min(len(vectors), 250_000))
        builder = builder.score_ah(2, anisotropic_quantization_threshold=0.2).reorder(100)
        self._searcher = builder.set_n_training_threads(threads).build()

    def save(self, folder: Path) -> dict[str, Any]:
        self._searcher.serialize(str(folder))
        return {}

    def load(self, folder: Path, rows: int, dim: int, metric: Metric) -> None:
        from scann.scann_ops.py import scann_ops_pybind

        self._searcher = scann_ops_pybind.load_searcher(str(folder))

    def search(self, queries: Float, k: int, setting: Setting, threads: int) -> NDArray[Any]:
        search = self._searcher.search_batched
        if threads > 1:
            search = self._searcher.search_batched_parallel
            if threads != self._threads:
                self._searcher.set_num_threads(threads)
                self._threads = threads
        rows: NDArray[Any] = search(queries, k, setting.second * k, setting.effort)[0]
        return rows.astype(np.int64)
