"""The flat family: no structure at all. Every search looks at every vector and is exact.

For a few thousand vectors nothing is faster: their codes fit a core's share of the cache, and the int8 scan with proven
rescoring (search/exact.py) goes through 10,000 × 384 in some 100 µs. index.faiss is a plain IndexFlat and holds the
float32 rows that the rescoring reads.
"""

from index.disk.codes import Metric
from index.disk.sections import FloatRows
from index.progress import Progress
from index.search.untyped import FaissIndex, faiss, faiss_metric

EFFORT_UNIT = "none"
DEFAULT_EFFORT = 1  # there is nothing to choose
_ROWS_PER_ADD = 8192


def build(rows: FloatRows, metric: Metric, *, show: bool) -> FaissIndex:
    count, dim = rows.array.shape
    index = faiss.IndexFlat(dim, faiss_metric(metric))
    with Progress("flat", count, show=show) as progress:
        for start in range(0, count, _ROWS_PER_ADD):
            part = rows.array[start : start + _ROWS_PER_ADD]
            index.add(part)
            rows.drop()
            progress.add(len(part))
    return index
