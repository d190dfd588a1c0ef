"""AlayaLite: a graph with RaBitQ codes of the neighbours in the vertex (SymphonyQG's layout), built on an HNSW."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from index.bench.ann.engine import Float, Metric, Setting

DEGREE, EF_CONSTRUCTION = 32, 200
_NAME = "alaya"


class Alaya:
    """Effort is the candidates kept."""

    _index: Any

    def build(self, vectors: Float, metric: Metric, threads: int, folder: Path) -> None:
        from alayalite import Index
        from alayalite.schema import IndexParams

        how = IndexParams(
            index_type="hnsw",
            quantization_type="rabitq",
            metric="l2" if metric == "l2" else "ip",
            capacity=np.uint32(len(vectors)),
            max_nbrs=DEGREE,
            build_threads=threads,
        )
        self._index = Index(_NAME, how)
        self._index.fit(vectors, ef_construction=EF_CONSTRUCTION, num_threads=threads)

    def save(self, folder: Path) -> dict[str, Any]:
        said = self._index.save(str(folder / _NAME))
        (folder / _NAME / "schema.json").write_text(json.dumps(said, default=int))
        return {}

    def load(self, folder: Path, rows: int, dim: int, metric: Metric) -> None:
        from alayalite import Index

        self._index = Index.load(str(folder), _NAME)

    def search(self, queries: Float, k: int, setting: Setting, threads: int) -> NDArray[Any]:
        rows: NDArray[Any] = self._index.batch_search(queries, k, max(k, setting.effort), threads)
        return rows.astype(np.int64)
