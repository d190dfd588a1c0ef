"""Malkov and Yashunin's graph (2016) outside FAISS: hnswlib, usearch, voyager."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from index.bench.ann.engine import Float, Metric, Setting

DEGREE, EF_CONSTRUCTION = 16, 200


class Hnswlib:
    _index: Any

    def build(self, vectors: Float, metric: Metric, threads: int, folder: Path) -> None:
        import hnswlib

        count, dim = vectors.shape
        self._index = hnswlib.Index("l2" if metric == "l2" else "ip", dim)
        self._index.init_index(count, M=DEGREE, ef_construction=EF_CONSTRUCTION)
        self._index.set_num_threads(threads)
        self._index.add_items(vectors)

    def save(self, folder: Path) -> dict[str, Any]:
        self._index.save_index(str(folder / "hnswlib"))
        return {}

    def load(self, folder: Path, rows: int, dim: int, metric: Metric) -> None:
        import hnswlib

        self._index = hnswlib.Index("l2" if metric == "l2" else "ip", dim)
        self._index.load_index(str(folder / "hnswlib"))

    def search(self, queries: Float, k: int, setting: Setting, threads: int) -> NDArray[Any]:
        self._index.set_num_threads(threads)
        self._index.set_ef(setting.effort)
        rows: NDArray[Any] = self._index.knn_query(queries, k)[0]
        return rows.astype(np.int64)


class Usearch:
    """`dtype` is how it stores the vectors: f32, bf16, i8 …; searches return what its own distances order."""

    _index: Any

    def __init__(self, dtype: str) -> None:
        self._dtype = dtype

    def _new(self, dim: int, metric: Metric) -> Any:
        from usearch.index import Index

        kind = {"l2": "l2sq", "ip": "ip", "cosine": "cos"}[metric]
        return Index(ndim=dim, metric=kind, dtype=self._dtype, connectivity=DEGREE, expansion_add=EF_CONSTRUCTION)

    def build(self, vectors: Float, metric: Metric, threads: int, folder: Path) -> None:
        self._index = self._new(vectors.shape[1], metric)
        self._index.add(np.arange(len(vectors)), vectors, threads=threads)

    def save(self, folder: Path) -> dict[str, Any]:
        self._index.save(str(folder / "usearch"))
        return {}

    def load(self, folder: Path, rows: int, dim: int, metric: Metric) -> None:
        self._index = self._new(dim, metric)
        self._index.load(str(folder / "usearch"))

    def search(self, queries: Float, k: int, setting: Setting, threads: int) -> NDArray[Any]:
        self._index.expansion_search = setting.effort
        rows: NDArray[Any] = self._index.search(queries, k, threads=threads).keys
        return rows.astype(np.int64)


class Voyager:
    _index: Any

    def build(self, vectors: Float, metric: Metric, threads: int, folder: Path) -> None:
        import voyager

        space = voyager.Space.Euclidean if metric == "l2" else voyager.Space.InnerProduct
        self._index = voyager.Index(
            space, vectors.shape[1], M=DEGREE, ef_construction=EF_CONSTRUCTION, max_elements=len(vectors)
        )
        self._index.add_items(vectors, num_threads=threads)

    def save(self, folder: Path) -> dict[str, Any]:
        self._index.save(str(folder / "voyager"))
        return {}

    def load(self, folder: Path, rows: int, dim: int, metric: Metric) -> None:
        import voyager

        self._index = voyager.Index.load(str(folder / "voyager"))

    def search(self, queries: Float, k: int, setting: Setting, threads: int) -> NDArray[Any]:
        rows: NDArray[Any] = self._index.query(queries, k, num_threads=threads, query_ef=setting.effort)[0]
        return rows.astype(np.int64)
