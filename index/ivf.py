"""The inverted-file family: for sets whose graph would not fit in memory. FAISS lists of 8-bit codes, float32
rescoring.

Rows are grouped around centroids; a search visits the lists of the nearest `nprobe` centroids, which is its effort.
The lists hold 8-bit scalar codes, and the best RESCORED · k of them are scored again from vectors.f32. Both files are
mapped, so the resident memory is what the searches touch.
"""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from index.exact import Metric
from index.flat import faiss_metric
from index.progress import Progress
from index.spool import FloatRows
from index.untyped import FaissIndex, faiss

EFFORT_UNIT = "nprobe"
RESCORED = 4  # candidates for each hit asked for
_ROWS_PER_ADD = 16384
_TRAINING_ROWS_PER_LIST = 64
_SEED = 1234


class IvfSearch:
    """Searches FAISS lists; `vectors` are the float32 rows that candidates are scored with again."""

    def __init__(self, index: FaissIndex, vectors: NDArray[np.float32], threads: int) -> None:
        self._index, self.vectors, self._threads = index, vectors, threads

    def candidates(
        self, queries: NDArray[np.float32], k: int, effort: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """As GraphSearch.candidates, (q, RESCORED · k)."""
        faiss.omp_set_num_threads(self._threads)
        compared = faiss.cvar.indexIVF_stats.ndis
        parameters = faiss.SearchParametersIVF(nprobe=min(effort, self._index.nlist))
        _, rows = self._index.search(queries, k * RESCORED, params=parameters)
        compared = faiss.cvar.indexIVF_stats.ndis - compared
        return rows, np.full(len(queries), max(0, compared) // max(1, len(queries)), np.int64)


def list_count(rows: int) -> int:
    """2·√n lists: visiting the centroids then costs about as much as visiting two lists."""
    return max(1, min(65536, round(2 * math.sqrt(rows))))


def efforts(rows: int) -> tuple[int, ...]:
    lists = list_count(rows)
    steps = sorted({round(2 ** (i / 2)) for i in range(40)})
    return (*(step for step in steps if step < lists), lists)


def build(
    rows: FloatRows,
    metric: Metric,
    held_out: NDArray[np.int64],
    measure: Callable[[IvfSearch], None],
    threads: int,
    *,
    show: bool,
) -> FaissIndex:
    """The lists of all rows; `measure` is called when all but the held-out ones are in them."""
    count, dim = rows.array.shape
    lists = list_count(count)
    quantiser = faiss.IndexFlat(dim, faiss_metric(metric))
    index = faiss.IndexIVFScalarQuantizer(quantiser, dim, lists, faiss.ScalarQuantizer.QT_8bit, faiss_metric(metric))
    faiss.omp_set_num_threads(threads)
    sample = np.random.default_rng(_SEED).choice(count, min(count, lists * _TRAINING_ROWS_PER_LIST), replace=False)
    index.cp.min_points_per_centroid = 1  # small sets are asked for by name; FAISS would only warn
    index.train(rows.array[np.sort(sample)])
    rows.drop()
    kept = np.setdiff1d(np.arange(count), held_out)
    with Progress("ivf", count, show=show) as progress:
        _add(index, rows, kept, progress)
        measure(IvfSearch(index, rows.array, threads))
        faiss.omp_set_num_threads(threads)
        _add(index, rows, held_out, progress)
    return index


def _add(index: FaissIndex, rows: FloatRows, which: NDArray[np.int64], progress: Progress) -> None:
    for start in range(0, len(which), _ROWS_PER_ADD):
        part = which[start : start + _ROWS_PER_ADD]
        index.add_with_ids(rows.array[part], part)
        rows.drop()
        progress.add(len(part))
