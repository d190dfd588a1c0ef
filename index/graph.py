"""The graph family: a hierarchical navigable small world graph (Malkov and Yashunin, 2016), built and walked by FAISS.

index.faiss is a stock IndexHNSWFlat: level 0 has 2 · DEGREE neighbours a row, and it holds the float32 rows too.
Effort is efSearch, the width of the walk's candidate list.

Held-out rows are added after the rest, so that recall is measured with queries that the graph has never seen; the
graph is then permuted into row order.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from index.exact import Metric
from index.flat import faiss_metric, float_rows
from index.progress import Progress
from index.spool import FloatRows
from index.untyped import FaissIndex, faiss

EFFORT_UNIT = "efSearch"
# On 50,000 × 384 (WordNet glosses) every pair from (16, 80) to (32, 160) compares 1,310 to 1,360 vectors for a
# recall@10 of 0.99, and building takes 10 to 23 s. On a harder set (near-duplicate package summaries) degree 16 needs
# an eighth more time for the same recall. The larger degree with the shorter build is the safe corner.
DEGREE = 32
BUILD_EFFORT = 100  # efConstruction
EFFORTS = (10, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)
_ROWS_PER_ADD = 4096


class GraphSearch:
    """Walks a FAISS graph. `renumber` gives each of the graph's nodes its row, while they differ."""

    def __init__(self, index: FaissIndex, threads: int, renumber: NDArray[np.int64] | None = None) -> None:
        self._index, self._threads, self._renumber = index, threads, renumber

    @property
    def vectors(self) -> NDArray[np.float32]:
        return float_rows(faiss.downcast_index(self._index.storage))

    def candidates(
        self, queries: NDArray[np.float32], k: int, effort: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Rows int64 (q, k), −1 where fewer, and how many vectors were compared, int64 (q,).

        FAISS counts comparisons for all queries of a call together, and for all threads of the process: the count is
        the call's mean, and too high when other threads search at the same time.
        """
        faiss.omp_set_num_threads(self._threads)  # OpenMP keeps it per calling thread
        compared = faiss.cvar.hnsw_stats.ndis
        parameters = faiss.SearchParametersHNSW(efSearch=effort)
        _, rows = self._index.search(queries, k, params=parameters)
        compared = faiss.cvar.hnsw_stats.ndis - compared
        if self._renumber is not None:
            rows = np.where(rows >= 0, self._renumber[rows], -1)
        return rows, np.full(len(queries), max(0, compared) // max(1, len(queries)), np.int64)


def build(
    rows: FloatRows,
    metric: Metric,
    held_out: NDArray[np.int64],
    measure: Callable[[GraphSearch], None],
    threads: int,
    *,
    show: bool,
) -> FaissIndex:
    """The graph of all rows; `measure` is called when all but the held-out ones are in it."""
    count, dim = rows.array.shape
    index = faiss.IndexHNSWFlat(dim, DEGREE, faiss_metric(metric))
    index.hnsw.efConstruction = BUILD_EFFORT
    kept = np.setdiff1d(np.arange(count), held_out)
    faiss.omp_set_num_threads(threads)
    with Progress("graph", count, show=show) as progress:
        _add(index, rows, kept, progress)
        if len(held_out):
            measure(GraphSearch(index, threads, kept))
            faiss.omp_set_num_threads(threads)
            _add(index, rows, held_out, progress)
            # permute_entries wants, for each new place, the old one.
            index.permute_entries(np.argsort(np.concatenate([kept, held_out])))
        else:
            measure(GraphSearch(index, threads))
    return index


def _add(index: FaissIndex, rows: FloatRows, which: NDArray[np.int64], progress: Progress) -> None:
    for start in range(0, len(which), _ROWS_PER_ADD):
        part = which[start : start + _ROWS_PER_ADD]
        index.add(rows.array[part])
        rows.drop()
        progress.add(len(part))
