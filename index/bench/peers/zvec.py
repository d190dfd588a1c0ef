"""Zvec: a database in this process; its HNSW over 8-bit codes, the best scored again from float32."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from index.bench.ann.engine import Float, Metric, Setting

DEGREE, EF_CONSTRUCTION = 32, 200
_FIELD, _ROWS_AT_ONCE = "v", 1000


class Zvec:
    """Effort is the candidates kept. Its Python module takes one query at a time, so it has one thread."""

    _collection: Any

    def build(self, vectors: Float, metric: Metric, threads: int, folder: Path) -> None:
        import zvec

        zvec.init(log_dir=str(folder / "log"), query_threads=1, optimize_threads=threads)
        index = zvec.HnswIndexParam(
            metric_type=zvec.MetricType.L2 if metric == "l2" else zvec.MetricType.IP,
            m=DEGREE,
            ef_construction=EF_CONSTRUCTION,
            quantize_type=zvec.QuantizeType.INT8,
        )
        field = zvec.VectorSchema(_FIELD, zvec.DataType.VECTOR_FP32, vectors.shape[1], index)
        self._collection = zvec.create_and_open(str(folder / "rows"), zvec.CollectionSchema("rows", vectors=field))
        for start in range(0, len(vectors), _ROWS_AT_ONCE):
            stop = min(len(vectors), start + _ROWS_AT_ONCE)
            done = self._collection.insert(
                [zvec.Doc(str(row), vectors={_FIELD: vectors[row]}) for row in range(start, stop)]
            )
            if not all(each.ok() for each in done):
                raise RuntimeError(f"zvec did not take the rows {start:,} to {stop:,}: {done[0]}")
        self._collection.optimize()

    def save(self, folder: Path) -> dict[str, Any]:
        self._collection.flush()
        self._collection.close()
        return {}

    def load(self, folder: Path, rows: int, dim: int, metric: Metric) -> None:
        import zvec

        zvec.init(log_dir=str(folder / "log"), query_threads=1)
        self._collection = zvec.open(str(folder / "rows"), zvec.CollectionOption(read_only=True))

    def search(self, queries: Float, k: int, setting: Setting, threads: int) -> NDArray[Any]:
        """Rows have the numbers in whose order they were put."""
        import zvec

        how = zvec.HnswQueryParam(ef=max(k, setting.effort), is_using_refiner=True)
        rows = np.full((len(queries), k), -1, np.int64)
        for place, query in enumerate(queries):
            found = self._collection.query_internal_ids(zvec.Query(_FIELD, vector=query, param=how), topk=k)
            rows[place, : len(found)] = found
        return rows
