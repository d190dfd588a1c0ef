"""Numbers of several processes that any of them can add up: one row of float64 per worker, in shared memory.

A worker writes only to its own row, so nothing is locked; adding to a number is one read and one write of eight bytes,
which cannot be torn. The worker that answers for metrics adds the rows. A worker that replaces a dead one continues in
its row, so that no counter ever falls. The memory has no name: a parent makes it before it forks.
"""

from __future__ import annotations

import mmap

NUMBER_BYTES = 8


class Slab:
    """`workers` rows of `width` numbers, all zero."""

    def __init__(self, width: int, workers: int = 1) -> None:
        self.width, self.workers = width, workers
        self._numbers = memoryview(mmap.mmap(-1, width * workers * NUMBER_BYTES)).cast("d")

    def row(self, worker: int) -> memoryview[float]:
        return self._numbers[worker * self.width : (worker + 1) * self.width]

    def sums(self) -> list[float]:
        """The rows added up."""
        rows = [self.row(worker) for worker in range(self.workers)]
        return [sum(column) for column in zip(*rows, strict=True)]
