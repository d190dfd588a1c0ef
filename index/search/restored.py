"""Rows whose float32 originals were dropped: scanned, and given back, from the codes of a graph and their rests.

The blocks of a graph hold int8 codes of every row, which a walk scores; a section of rests has 4 bits a dimension more.
A row of both is the original but for some 0.00002 of its length in every direction, and it is what a score, a filter's
scan, an exact search and a vector that is given out go by (index/kernels/restored.hpp). So the answers of all of them
agree, to the bit and with each other.
"""

import numpy as np
from numpy.typing import NDArray

from index.disk.codes import Metric
from index.disk.layout import Layout
from index.kernels import _native
from index.search.bitmap import Bitmap
from index.search.exact import ROWS_WORTH_A_THREAD, TopK
from index.search.finding import picks


class RestoredRows:
    """The rows of a layout that has rests."""

    def __init__(self, layout: Layout, metric: Metric, threads: int) -> None:
        self._graph, self._count, self._dim = layout.graph(), layout.count, layout.dim
        self._metric, self._threads = metric, threads

    def scan(self, queries: NDArray[np.float32], k: int, keep: Bitmap | None = None) -> TopK:
        """As `ScannedRows.scan`. Every row is compared by its int8 codes, and by its restored row too where that may
        change the answer."""
        return scanned(self._graph, self._count, self._threads, queries, k, keep)

    def between(self, start: int, stop: int) -> NDArray[np.float32]:
        """A copy; of length 1 for cosine, as the originals were."""
        start, stop, _ = slice(start, stop).indices(self._count)
        rows = np.empty((max(0, stop - start), self._dim), np.float32)
        self._graph.restore(start, rows, self._threads)
        return as_held(rows, self._metric)


def scanned(
    rows: _native.Graph | _native.Lists,
    count: int,
    threads: int,
    queries: NDArray[np.float32],
    k: int,
    keep: Bitmap | None,
) -> TopK:
    """The best k of `count` rows that kernels restore, or of those that survive."""
    found = TopK(
        np.empty((len(queries), k), np.int64), np.empty((len(queries), k), np.float32), np.empty(len(queries), np.int64)
    )
    if keep is not None and picks(keep):
        rows.scan(queries, *found, at=keep.rows32)
        found.scored[:] = keep.count
        return found
    threads = max(1, min(threads, count * max(1, len(queries)) // ROWS_WORTH_A_THREAD))
    rows.scan(queries, *found, threads, None if keep is None else keep.words)
    found.scored[:] = count
    return found


def as_held(rows: NDArray[np.float32], metric: Metric) -> NDArray[np.float32]:
    """Restored rows as the originals were: of length 1 for cosine."""
    if metric != "cosine":
        return rows
    lengths = np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    return (rows / np.where(lengths > 0, lengths, 1.0)).astype(np.float32)
