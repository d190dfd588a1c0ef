"""turbovec: a scan of all rows by 4-bit codes after a random rotation (TurboQuant, Zandieh et al., 2025).

It answers with codes alone; the best are scored again here from float32, as its documentation leaves to the caller.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from index.bench.ann.engine import Float, Metric, Setting

BITS, SAMPLE = 4, 4096
_QUERIES_AT_ONCE = 64  # whose rows are gathered together


class Turbovec:
    """Effort is how many times k rows are scored again. Products alone, so vectors are of length 1."""

    _index: Any
    _vectors: Float

    def build(self, vectors: Float, metric: Metric, threads: int, folder: Path) -> None:
        os.environ["RAYON_NUM_THREADS"] = str(threads)  # read when its pool starts
        import turbovec

        self._vectors, self._index = vectors, turbovec.TurboQuantIndex(vectors.shape[1], BITS)
        chosen = np.random.default_rng(0).permutation(len(vectors))[:SAMPLE]
        self._index.calibrate(np.ascontiguousarray(vectors[chosen]))
        self._index.add(vectors)
        self._index.prepare()

    def save(self, folder: Path) -> dict[str, Any]:
        self._index.write(str(folder / "codes"))
        np.save(folder / "vectors.npy", self._vectors)
        return {}

    def load(self, folder: Path, rows: int, dim: int, metric: Metric) -> None:
        os.environ["RAYON_NUM_THREADS"] = "1"
        import turbovec

        self._index = turbovec.TurboQuantIndex.load(str(folder / "codes"))
        self._index.prepare()
        self._vectors = np.load(folder / "vectors.npy")

    def search(self, queries: Float, k: int, setting: Setting, threads: int) -> NDArray[Any]:
        found = np.empty((len(queries), k), np.int64)
        many = min(len(self._vectors), max(k, k * setting.effort))
        for start in range(0, len(queries), _QUERIES_AT_ONCE):
            some = queries[start : start + _QUERIES_AT_ONCE]
            rows = self._index.search(some, many)[1]
            scores = (self._vectors[rows] @ some[:, :, None])[:, :, 0]
            best = np.argsort(-scores, axis=1)[:, :k]
            found[start : start + len(some)] = np.take_along_axis(rows, best, 1)
        return found
