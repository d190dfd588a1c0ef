"""The links of a graph from nothing (index/kernels/draft.cpp), and the rows held out of it added to them.

Nothing of FAISS is in memory meanwhile: one layout of int8 codes, its links, and what each row considers.
"""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from index.build.drafts.parcels import SharedParts
from index.disk import layout
from index.disk.layout import DEGREE, Originals
from index.disk.section_files import SectionFiles
from index.progress import Progress, say

# Parts that a row is in, the most rows of a part, and whom a row considers of those that it meets there: the nearest,
# the nearest of those that were drawn, and some at random. MEASURED.md has what others come to.
SETTINGS = {
    "own": {"fan": 12, "leaf": 2048, "near": 96, "drawn": 16, "strangers": 8},
    "quick": {"fan": 6, "leaf": 2048, "near": 64, "drawn": 16, "strangers": 8},
}
_ROUGH_FAN = 4  # of links that only have to lead somewhere near: those of FAISS's upper levels
_LINKING = 4  # kLinking of draft.hpp
_WATCH_S = 0.2
REACH = (60, 180)  # of the walks by which held-out rows find their neighbours, as graph.py's last pass


class Draft:
    """A graph of `vectors` by distance, which `kept` rows are in. links: int32 (n, DEGREE), −1 for none.

    layout: of the profile compact, with these links. Drafting reads it everywhere, so it is in huge pages meanwhile;
    afterwards it is in files of the folder, `files`.
    """

    def __init__(
        self,
        folder: Path,
        vectors: NDArray[np.float32],
        kept: NDArray[np.int64],
        threads: int,
        *,
        l2: bool,
        originals: Originals,
        builder: str,
        show: bool,
        parts: SharedParts | None = None,
    ) -> None:
        """l2: else vectors are of one length, and products rank as distances do. builder: of SETTINGS. parts: where
        others may do some of them."""
        self._threads, self._count, self._settings = threads, len(vectors), SETTINGS[builder]
        self.roots = kept[layout.sampled_roots(len(kept))]
        self.links = np.full((self._count, DEGREE), -1, np.int32)
        start_s = time.perf_counter()
        self.layout = layout.encode(
            vectors, self.links, self.roots, threads, l2=l2, profile="compact", originals=originals
        )
        self.encoded_s = time.perf_counter() - start_s
        with Progress("graph", len(kept), show=show) as progress:
            self._draft(kept.astype(np.int32), self.links, self._settings["fan"], progress, parts)
        if parts is not None:
            say(f"{parts.elsewhere:,} of {parts.count:,} parcels of the graph were done elsewhere", show=show)
        layout.relink(self.layout, self.links)
        self.files = SectionFiles(folder, ".draft-")
        self.layout = layout.copied(self.layout, self.files)

    def among(self, rows: NDArray[np.int32], degree: int) -> NDArray[np.int32]:
        """Links (n, degree) of these rows, in ascending order, to one another."""
        out = np.empty((self._count, degree), np.int32)
        self._draft(rows, out, _ROUGH_FAN, None)
        return out

    def _draft(
        self,
        rows: NDArray[np.int32],
        out: NDArray[np.int32],
        fan: int,
        progress: Progress | None,
        parts: SharedParts | None = None,
    ) -> None:
        """Of degree DEGREE they reach all."""
        done = np.zeros(1, np.uint64)
        _, leaf, near, drawn, strangers = self._settings.values()
        degree, threads = out.shape[1], self._threads

        def work() -> None:
            plan = (fan, leaf, near, drawn, strangers, degree, degree == DEGREE)
            draft = self.layout.graph().draft(rows, *plan, threads)
            if parts is None:
                draft.meet(0, len(draft.starts) - 1, threads, done)
            else:
                parts.meet(draft, done)
            draft.link(threads, out, done)

        with ThreadPoolExecutor(1) as pool:
            _watch(pool, work, done, len(rows), fan, progress)

    def add(self, rows: NDArray[np.int64]) -> None:
        """Links rows that were held out, by walks over the rest."""
        out = np.empty_like(self.links)
        self.layout.graph().refine(self.links, rows.astype(np.int32), *REACH, self._threads, out)
        self.links = out
        layout.relink(self.layout, self.links)
        self.files.drop()


def _watch(
    pool: ThreadPoolExecutor,
    work: Callable[[], None],
    done: NDArray[np.uint64],
    rows: int,
    fan: int,
    progress: Progress | None,
) -> None:
    future, shown, whole = pool.submit(work), 0, rows * (fan + _LINKING)
    while wait([future], _WATCH_S).not_done:
        now = min(rows, int(done[0]) * rows // max(1, whole))
        if progress is not None:
            progress.add(now - shown)
        shown = now
    future.result()
    if progress is not None:
        progress.add(rows - shown)
