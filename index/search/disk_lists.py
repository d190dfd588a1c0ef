"""Search of inverted lists whose rows stay on the disk: what an effort means, filters, threads.

In memory are one bit a dimension of each row and the lists' centres, which all processes share. Of a row that may be
among the best its record is read from the generation's file, all that a search needs at once: by io_uring, or by a
pool of threads where the system gives none. The file is read through the page cache: what was read lately costs a
copy, and gives way when memory is wanted. It is not mapped, so it counts towards no limit of this process.

Scores, an exact search and vectors that are given out go by the records, as of a graph whose originals were dropped
(restored.py): the answers of all ways agree, to the bit and with each other.
"""

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from index.disk.codes import Metric
from index.disk.lists import ListsLayout
from index.errors import GenerationError, KernelError, StorageError
from index.search.bitmap import Bitmap
from index.search.exact import TopK
from index.search.finding import WALK, SearchPlan
from index.search.restored import as_held, scanned

EFFORT_UNIT = "nprobe"
READER = "PERWATT_READER"  # auto, ring or pool
# How far below what is wanted an estimate may be for the row to be read, in standard errors: so much for the first
# list, and so much more for each doubling of the lists. Whoever visits twice as many wants a hit less often missed in
# them.
_MARGIN, _MARGIN_STEP = 1.0, 0.25


def margin_of(effort: int) -> float:
    return _MARGIN + _MARGIN_STEP * math.log2(max(1, effort))


class DiskLists:
    """Searches lists, and compares all of their rows. Safe to use from several threads."""

    def __init__(self, layout: ListsLayout, metric: Metric, threads: int) -> None:
        wanted = os.environ.get(READER, "auto")
        self._path, self._count, self._dim = layout.records, layout.count, layout.dim
        self._metric, self._threads = metric, threads
        try:
            self._lists = layout.open(wanted)
        except ValueError as error:
            if wanted == "auto":
                raise
            raise KernelError(f"{READER} is {wanted!r}: {error}") from error

    @property
    def reader(self) -> str:
        """What reads records: "ring" or "pool"."""
        return self._lists.reader

    @property
    def reads(self) -> int:
        """Records that searches have read so far; those of scans are not among them."""
        return self._lists.reads

    def search(
        self, queries: NDArray[np.float32], k: int, effort: int, keep: Bitmap | None = None, plan: SearchPlan = WALK
    ) -> TopK:
        """The best k of the rows in the `effort` nearest lists, fewer or none where too few survive in what the plan's
        budget allows. Through a filter, as many more lists are visited as rows are dropped. `scored` counts centres
        and rows that were estimated."""
        survivors = self._count if keep is None else keep.count
        probed = min(self._lists.lists, max(1, int(effort * self._count / max(1, survivors))))
        found = _empty(len(queries), k)
        words = None if keep is None else keep.words
        with self._reading():
            self._lists.search(
                queries, probed, margin_of(effort), words, survivors, *found, threads=self._threads, budget=plan.budget
            )
        return found

    def scan(self, queries: NDArray[np.float32], k: int, keep: Bitmap | None = None) -> TopK:
        """As `ScannedRows.scan`, of records in the order in which they lie."""
        with self._reading():
            return scanned(self._lists, self._count, self._threads, queries, k, keep)

    def between(self, start: int, stop: int) -> NDArray[np.float32]:
        """A copy; of length 1 for cosine, as the originals were."""
        start, stop, _ = slice(start, stop).indices(self._count)
        rows = np.empty((max(0, stop - start), self._dim), np.float32)
        with self._reading():
            self._lists.restore(start, rows)
        return as_held(rows, self._metric)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except EOFError as error:
            raise GenerationError(self._path, f"was cut short after it was opened: {error}") from error
        except OSError as error:
            raise StorageError(
                f"{self._path} cannot be read: {error.strerror}. Nothing has changed; the next search tries again"
            ) from error


def _empty(count: int, k: int) -> TopK:
    return TopK(np.empty((count, k), np.int64), np.empty((count, k), np.float32), np.empty(count, np.int64))
