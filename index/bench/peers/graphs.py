"""Other graphs: SymphonyQG (rabitqlib), Vamana (scalable-vs), NGT, and VSAG's HGraph."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from index.bench.ann.engine import Float, Metric, Setting

DEGREE, EF_CONSTRUCTION = 32, 200


class Symqg:
    """SymphonyQG (Gou et al., SIGMOD 2025). `bits` of the codes that rescore; 0 keeps the float32 vectors."""

    _index: Any

    def __init__(self, degree: int, bits: int = 0) -> None:
        self._degree, self._bits = degree, bits

    def build(self, vectors: Float, metric: Metric, threads: int, folder: Path) -> None:
        import rabitqlib

        kind = "l2" if metric == "l2" else "ip"
        self._index = rabitqlib.SymqgIndex(vectors.shape[1], self._degree, kind, self._bits)
        self._index.build(vectors, EF_CONSTRUCTION, threads)

    def save(self, folder: Path) -> dict[str, Any]:
        self._index.save(str(folder / "symqg"))
        return {}

    def load(self, folder: Path, rows: int, dim: int, metric: Metric) -> None:
        import rabitqlib

        self._index = rabitqlib.SymqgIndex.load(str(folder / "symqg"))

    def search(self, queries: Float, k: int, setting: Setting, threads: int) -> NDArray[Any]:
        rows: NDArray[Any] = self._index.search(queries, k, setting.effort, threads)[0]
        return rows.astype(np.int64)


class Svs:
    """Vamana (Jayaram Subramanya et al., NeurIPS 2019), loaded with LVQ codes: 4 bits, and 8 more of what they miss."""

    _index: Any

    def build(self, vectors: Float, metric: Metric, threads: int, folder: Path) -> None:
        import svs

        parameters = svs.VamanaBuildParameters(graph_max_degree=DEGREE, window_size=EF_CONSTRUCTION)
        self._index = svs.Vamana.build(parameters, vectors, self._distance(metric), num_threads=threads)

    def save(self, folder: Path) -> dict[str, Any]:
        self._index.save(*(str(folder / name) for name in ("settings", "graph", "vectors")))
        return {}

    def load(self, folder: Path, rows: int, dim: int, metric: Metric) -> None:
        import svs

        vectors = svs.VectorDataLoader(str(folder / "vectors"), svs.DataType.float32, dims=dim)
        codes = svs.LVQLoader(vectors, primary=4, residual=8)
        graph = svs.GraphLoader(str(folder / "graph"))
        self._index = svs.Vamana(str(folder / "settings"), graph, codes, self._distance(metric), num_threads=1)

    def search(self, queries: Float, k: int, setting: Setting, threads: int) -> NDArray[Any]:
        if self._index.num_threads != threads:
            self._index.num_threads = threads
        self._index.search_window_size = setting.effort
        rows: NDArray[Any] = self._index.search(queries, k)[0]
        return rows.astype(np.int64)

    @staticmethod
    def _distance(metric: Metric) -> Any:
        import svs

        return svs.DistanceType.L2 if metric == "l2" else svs.DistanceType.MIP


class Ngt:
    """NGT's ANNG, its edges rearranged (ONNG; Iwasaki and Miyazaki, 2018). Effort is epsilon in thousandths.

    Its quantised graphs are made by command-line programs that the package does not contain.
    """

    _index: Any

    def build(self, vectors: Float, metric: Metric, threads: int, folder: Path) -> None:
        import ngtpy

        kind = {"l2": "L2", "ip": "Inner Product", "cosine": "Normalized Cosine"}[metric]
        ngtpy.create(str(folder / "anng"), vectors.shape[1], distance_type=kind, edge_size_for_creation=50)
        index = ngtpy.Index(str(folder / "anng"), log_disabled=True)
        index.batch_insert(vectors, num_threads=threads)
        index.save()
        index.close()
        optimizer = ngtpy.Optimizer(num_of_outgoings=10, num_of_incomings=50, log_disabled=True)
        optimizer.set_processing_modes(
            search_parameter_optimization=False, prefetch_parameter_optimization=False, accuracy_table_generation=False
        )
        optimizer.execute(str(folder / "anng"), str(folder / "onng"))

    def save(self, folder: Path) -> dict[str, Any]:
        shutil.rmtree(folder / "anng")
        return {}

    def load(self, folder: Path, rows: int, dim: int, metric: Metric) -> None:
        import ngtpy

        self._index = ngtpy.Index(str(folder / "onng"), read_only=True, log_disabled=True)

    def search(self, queries: Float, k: int, setting: Setting, threads: int) -> NDArray[Any]:
        """As many threads as OpenMP has, which the worker sets."""
        import ngtpy

        self._index.set(epsilon=setting.effort / 1000)
        found = ngtpy.BatchResults()
        self._index.batch_search(queries, found, k)
        rows: NDArray[Any] = found.get_ids()
        return rows.astype(np.int64)


class Vsag:
    """VSAG's HGraph (Zhong et al., VLDB 2025) over 8-bit codes, the best scored again from float32.

    Its Python module takes one query at a time and holds the interpreter's lock meanwhile, so it has one thread.
    """

    _index: Any

    def build(self, vectors: Float, metric: Metric, threads: int, folder: Path) -> None:
        count, dim = vectors.shape
        (folder / "threads").write_text(str(threads))
        self._index = self._new(dim, metric, threads)
        self._index.build(vectors.ravel(), np.arange(count), count, dim)

    def save(self, folder: Path) -> dict[str, Any]:
        self._index.save(str(folder / "vsag"))
        return {}

    def load(self, folder: Path, rows: int, dim: int, metric: Metric) -> None:
        self._index = self._new(dim, metric, int((folder / "threads").read_text()))
        self._index.load(str(folder / "vsag"))

    def search(self, queries: Float, k: int, setting: Setting, threads: int) -> NDArray[Any]:
        how = json.dumps({"hgraph": {"ef_search": setting.effort}})
        rows = np.full((len(queries), k), -1, np.int64)
        for place, query in enumerate(queries):
            found = self._index.knn_search(query, k, how)[0]
            rows[place, : len(found)] = found
        return rows

    @staticmethod
    def _new(dim: int, metric: Metric, threads: int) -> Any:
        import pyvsag

        pyvsag.set_logger_off()
        settings = {
            "base_quantization_type": "sq8_uniform",
            "use_reorder": True,
            "precise_quantization_type": "fp32",
            "max_degree": DEGREE,
            "ef_construction": EF_CONSTRUCTION,
            "build_thread_count": threads,
        }
        kind = "l2" if metric == "l2" else "ip"
        return pyvsag.Index(
            "hgraph", json.dumps({"dtype": "float32", "metric_type": kind, "dim": dim, "index_param": settings})
        )
