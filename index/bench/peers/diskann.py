"""DiskANN (Jayaram Subramanya et al., NeurIPS 2019), by bindings of its library in Rust: product-quantised
codes in memory, a graph and float32 rows that are read from the disk past the page cache.

Vectors of length 1 are compared by L2, which orders them as a product does. The package `diskannpy` of the older C++
library has the same module name.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from index.bench.ann.engine import Float, Metric, Setting

DEGREE, COMPLEXITY, BUILD_GIB = 64, 100, 16.0
BEAM = 4  # reads that are in flight together
PAGE_BYTES = 4096  # of one read
_CACHED = 20  # a twentieth of the vertices, those around the first one, are kept in memory


class DiskAnn:
    """Effort is its search complexity."""

    _index: Any

    def build(self, vectors: Float, metric: Metric, threads: int, folder: Path) -> None:
        import diskannpy

        kind = "innerproduct" if metric == "ip" else "l2"
        parts = max(1, vectors.shape[1] // 2)
        diskannpy.build_disk_index(
            vectors, kind, str(folder), COMPLEXITY, DEGREE, BUILD_GIB, threads, num_of_pq_chunks=parts
        )
        (folder / "ann_vectors.bin").unlink()  # a copy of the input

    def save(self, folder: Path) -> dict[str, Any]:
        return {}

    def load(self, folder: Path, rows: int, dim: int, metric: Metric) -> None:
        import diskannpy

        self._index = diskannpy.StaticDiskIndex(
            str(folder), num_threads=1, beam_width=BEAM, num_nodes_to_cache=rows // _CACHED
        )

    def search(self, queries: Float, k: int, setting: Setting, threads: int) -> NDArray[Any]:
        found = np.full((len(queries), k), -1, np.int64)
        for place, query in enumerate(queries):
            rows = self._index.search(query, k, max(k, setting.effort)).identifiers
            found[place, : len(rows)] = rows
        return found
