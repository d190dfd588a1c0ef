"""One search of a generation: which way to go, and that the answer always holds min(k, survivors) rows.

    exact, or no structure      a scan, which skips what a filter drops
    few survivors               their rows are scored in float32, one after the other
    otherwise                   the structure; queries for which it found too few are scanned

A filter never cuts an answer afterwards: it is in the walk, or in the scan.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from index import exact
from index.bitmap import Bitmap
from index.exact import Codes, Found, Metric
from index.rescoring import rescore

# Up to so many survivors, scoring them all is quicker than a walk that must pass what it may not return. An absolute
# count: both sides cost about the same for any size of the set.
FEW_SURVIVORS = 1000


class Searcher(Protocol):
    """How a family finds the best k ≤ n rows, or fewer. Scores are those of exact search."""

    def search(self, queries: NDArray[np.float32], k: int, effort: int, keep: Bitmap | None = None) -> Found: ...


@dataclass(frozen=True)
class Rows:
    """What every way looks at: float32 rows, their codes, and how they are compared."""

    vectors: NDArray[np.float32]
    codes: Codes
    metric: Metric
    threads: int

    def scan(self, queries: NDArray[np.float32], k: int, keep: Bitmap | None = None) -> Found:
        metric: Metric = "l2" if self.metric == "l2" else "ip"  # cosine rows and queries are of length 1 by now
        words = None if keep is None else keep.words
        return exact.search(queries, self.vectors, k, metric, codes=self.codes, threads=self.threads, keep=words)

    def score(self, queries: NDArray[np.float32], k: int, rows: NDArray[np.int64]) -> Found:
        candidates = np.broadcast_to(rows, (len(queries), len(rows)))
        scored = np.full(len(queries), len(rows), np.int64)
        return rescore(queries, self.vectors, candidates, scored, k, l2=self.metric == "l2")


def find(
    rows: Rows,
    searcher: Searcher | None,
    queries: NDArray[np.float32],
    k: int,
    effort: int,
    *,
    keep: Bitmap | None = None,
    exactly: bool = False,
) -> Found:
    """The best k ≤ n of each query; rows are −1 only where fewer than k survive the filter."""
    if keep is not None and keep.count <= FEW_SURVIVORS:
        return rows.score(queries, k, keep.rows)
    if exactly or searcher is None:
        return rows.scan(queries, k, keep)
    found = searcher.search(queries, k, effort, keep)
    wanted = k if keep is None else min(k, keep.count)
    short = np.flatnonzero(found.rows[:, wanted - 1] < 0)
    if len(short):
        rest = rows.scan(np.ascontiguousarray(queries[short]), k, keep)
        found.rows[short], found.scores[short], found.scored[short] = rest
    return found
