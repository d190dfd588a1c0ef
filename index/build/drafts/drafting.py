"""The links of a graph from nothing (index/kernels/draft.cpp), and the rows held out of it added to them.

Nothing of FAISS is in memory meanwhile: one layout of int8 codes, its links, and what each row considers.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from functools import partial

import numpy as np
from numpy.typing import NDArray

from index.disk import layout
from index.disk.layout import DEGREE
from index.progress import Progress

# Parts that a row is in, the most rows of a part, and whom a row considers of those that it meets there: the nearest,
# the nearest of those that were drawn, and some at random. MEASURED.md has what others come to.
SETTINGS = {"fan": 12, "leaf": 2048, "near": 96, "drawn": 16, "strangers": 8}
_LINKING = 4  # kLinking of draft.hpp
_WATCH_S = 0.2
REACH = (60, 180)  # of the walks by which held-out rows find their neighbours, as graph.py's last pass


class Draft:
    """A graph of `vectors` by distance, which `kept` rows are in. links: int32 (n, DEGREE), −1 for none."""

    def __init__(self, vectors: NDArray[np.float32], kept: NDArray[np.int64], threads: int, *, show: bool) -> None:
        self._threads, self._count = threads, len(vectors)
        self.roots = kept[layout.sampled_roots(len(kept))]
        none = np.full((self._count, DEGREE), -1, np.int32)
        self._layout = layout.encode(vectors, none, self.roots, threads, l2=True, profile="compact")
        del none
        with Progress("graph", len(kept), show=show) as progress:
            self.links = self.among(kept.astype(np.int32), DEGREE, progress)

    def among(self, rows: NDArray[np.int32], degree: int, progress: Progress | None = None) -> NDArray[np.int32]:
        """Links (n, degree) of these rows, in ascending order, to one another; of degree DEGREE they reach all."""
        out = np.empty((self._count, degree), np.int32)
        done = np.zeros(1, np.uint64)
        fan, leaf, near, drawn, strangers = SETTINGS.values()
        graph, connected = self._layout.graph(), degree == DEGREE
        work = partial(graph.draft, rows, fan, leaf, near, drawn, strangers, connected, self._threads, out, done)
        with ThreadPoolExecutor(1) as pool:
            _watch(pool, work, done, len(rows), progress)
        return out

    def add(self, rows: NDArray[np.int64]) -> None:
        """Links rows that were held out, by walks over the rest."""
        layout.relink(self._layout, self.links)
        out = np.empty_like(self.links)
        self._layout.graph().refine(self.links, rows.astype(np.int32), *REACH, self._threads, out)
        self.links = out


def _watch(
    pool: ThreadPoolExecutor,
    work: Callable[[], None],
    done: NDArray[np.uint64],
    rows: int,
    progress: Progress | None,
) -> None:
    future, shown, whole = pool.submit(work), 0, rows * (SETTINGS["fan"] + _LINKING)
    while wait([future], _WATCH_S).not_done:
        now = min(rows, int(done[0]) * rows // max(1, whole))
        if progress is not None:
            progress.add(now - shown)
        shown = now
    future.result()
    if progress is not None:
        progress.add(rows - shown)
