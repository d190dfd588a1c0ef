"""FAISS (Douze et al., 2024): its graph, its graph over 8-bit codes, and its inverted lists with rescoring."""

from __future__ import annotations

import importlib
import math
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from index.bench.ann.engine import Float, Metric, Setting

# As anyone would import it, and without its type stubs, which lack most of what is used here.
faiss: Any = importlib.import_module("faiss")

FILE = "faiss.index"
EF_CONSTRUCTION = 200
TRAINING_ROWS_PER_LIST = 64


def metric_of(metric: Metric) -> int:
    return int(faiss.METRIC_L2 if metric == "l2" else faiss.METRIC_INNER_PRODUCT)


class _Faiss:
    _index: Any

    def save(self, folder: Path) -> dict[str, Any]:
        faiss.write_index(self._index, str(folder / FILE))
        return {}

    def load(self, folder: Path, rows: int, dim: int, metric: Metric) -> None:
        self._index = faiss.read_index(str(folder / FILE))


class Hnsw(_Faiss):
    """IndexHNSWFlat; `degree` is FAISS's M, so level 0 has twice as many links."""

    def __init__(self, degree: int) -> None:
        self._degree = degree

    def build(self, vectors: Float, metric: Metric, threads: int, folder: Path) -> None:
        faiss.omp_set_num_threads(threads)
        self._index = faiss.IndexHNSWFlat(vectors.shape[1], self._degree, metric_of(metric))
        self._index.hnsw.efConstruction = EF_CONSTRUCTION
        self._index.add(vectors)

    def search(self, queries: Float, k: int, setting: Setting, threads: int) -> NDArray[Any]:
        faiss.omp_set_num_threads(threads)
        self._index.hnsw.efSearch = setting.effort
        rows: NDArray[Any] = self._index.search(queries, k)[1]
        return rows


class HnswSq8(_Faiss):
    """The graph over 8-bit codes; the best `second` · k are scored again from float32."""

    def __init__(self, degree: int) -> None:
        self._degree = degree

    def build(self, vectors: Float, metric: Metric, threads: int, folder: Path) -> None:
        faiss.omp_set_num_threads(threads)
        self._index = faiss.index_factory(vectors.shape[1], f"HNSW{self._degree}_SQ8,RFlat", metric_of(metric))
        faiss.downcast_index(self._index.base_index).hnsw.efConstruction = EF_CONSTRUCTION
        self._index.train(vectors)
        self._index.add(vectors)

    def search(self, queries: Float, k: int, setting: Setting, threads: int) -> NDArray[Any]:
        faiss.omp_set_num_threads(threads)
        parameters = faiss.IndexRefineSearchParameters(
            k_factor=setting.second, base_index_params=faiss.SearchParametersHNSW(efSearch=setting.effort)
        )
        rows: NDArray[Any] = self._index.search(queries, k, params=parameters)[1]
        return rows


class Ivf(_Faiss):
    """2·√n lists of small codes ("PQ192x4fs", "RaBitQfs"; {half} is dim / 2), the best `second` · k scored again."""

    def __init__(self, codes: str) -> None:
        self._codes = codes

    def build(self, vectors: Float, metric: Metric, threads: int, folder: Path) -> None:
        faiss.omp_set_num_threads(threads)
        count, dim = vectors.shape
        lists = max(1, round(2 * math.sqrt(count)))
        codes = self._codes.format(half=dim // 2 if dim % 2 == 0 else dim)
        self._index = faiss.index_factory(dim, f"IVF{lists},{codes},RFlat", metric_of(metric))
        inverted = faiss.extract_index_ivf(self._index.base_index)
        inverted.cp.min_points_per_centroid = 1
        self._index.train(vectors[: lists * TRAINING_ROWS_PER_LIST])
        self._index.add(vectors)

    def search(self, queries: Float, k: int, setting: Setting, threads: int) -> NDArray[Any]:
        faiss.omp_set_num_threads(threads)
        parameters = faiss.IndexRefineSearchParameters(
            k_factor=setting.second, base_index_params=faiss.SearchParametersIVF(nprobe=setting.effort)
        )
        rows: NDArray[Any] = self._index.search(queries, k, params=parameters)[1]
        return rows
