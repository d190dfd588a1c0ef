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
    """An engine makes an empty index, and says how one search is set; the rest is the same for all."""

    _index: Any

    def build(self, vectors: Float, metric: Metric, threads: int, folder: Path) -> None:
        faiss.omp_set_num_threads(threads)
        self._index, training_rows = self._empty(len(vectors), vectors.shape[1], metric_of(metric))
        self._index.train(vectors[:training_rows])
        self._index.add(vectors)

    def search(self, queries: Float, k: int, setting: Setting, threads: int) -> NDArray[Any]:
        faiss.omp_set_num_threads(threads)
        rows: NDArray[Any] = self._index.search(queries, k, params=self._parameters(setting))[1]
        return rows

    def save(self, folder: Path) -> dict[str, Any]:
        faiss.write_index(self._index, str(folder / FILE))
        return {}

    def load(self, folder: Path, rows: int, dim: int, metric: Metric) -> None:
        self._index = faiss.read_index(str(folder / FILE))

    def _empty(self, count: int, dim: int, metric: int) -> tuple[Any, int]:
        """An index for `count` vectors, and how many of them it is trained with."""
        raise NotImplementedError

    def _parameters(self, setting: Setting) -> Any:
        raise NotImplementedError


class Hnsw(_Faiss):
    """IndexHNSWFlat; `degree` is FAISS's M, so level 0 has twice as many links."""

    def __init__(self, degree: int) -> None:
        self._degree = degree

    def _empty(self, count: int, dim: int, metric: int) -> tuple[Any, int]:
        index = faiss.IndexHNSWFlat(dim, self._degree, metric)
        index.hnsw.efConstruction = EF_CONSTRUCTION
        return index, count

    def _parameters(self, setting: Setting) -> Any:
        return faiss.SearchParametersHNSW(efSearch=setting.effort)


class HnswSq8(Hnsw):
    """The graph over 8-bit codes; the best `second` · k are scored again from float32."""

    def _empty(self, count: int, dim: int, metric: int) -> tuple[Any, int]:
        index = faiss.index_factory(dim, f"HNSW{self._degree}_SQ8,RFlat", metric)
        faiss.downcast_index(index.base_index).hnsw.efConstruction = EF_CONSTRUCTION
        return index, count

    def _parameters(self, setting: Setting) -> Any:
        graph = super()._parameters(setting)
        return faiss.IndexRefineSearchParameters(k_factor=setting.second, base_index_params=graph)


class Ivf(_Faiss):
    """2·√n lists of small codes ("PQ192x4fs", "RaBitQfs"; {half} is dim / 2), the best `second` · k scored again."""

    def __init__(self, codes: str) -> None:
        self._codes = codes

    def _empty(self, count: int, dim: int, metric: int) -> tuple[Any, int]:
        lists = max(1, round(2 * math.sqrt(count)))
        codes = self._codes.format(half=dim // 2 if dim % 2 == 0 else dim)
        index = faiss.index_factory(dim, f"IVF{lists},{codes},RFlat", metric)
        faiss.extract_index_ivf(index.base_index).cp.min_points_per_centroid = 1
        return index, lists * TRAINING_ROWS_PER_LIST

    def _parameters(self, setting: Setting) -> Any:
        lists = faiss.SearchParametersIVF(nprobe=setting.effort)
        return faiss.IndexRefineSearchParameters(k_factor=setting.second, base_index_params=lists)
