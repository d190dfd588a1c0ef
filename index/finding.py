"""One search of a generation: which way to go, and that the answer always holds min(k, survivors) rows.

    few survivors               a scan of just their codes
    exact, or no structure      a scan of all codes, which skips blocks that a filter drops
    otherwise                   the structure; queries for which it found too few are scanned

A filter never cuts an answer afterwards: it is in the walk, or in the scan.
"""

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from index import exact
from index.bitmap import Bitmap
from index.exact import Codes, Found, Metric

# Up to FEW · √n survivors of n rows, comparing all of them is quicker than a walk that must pass what it may not
# return: the scan costs 25 ns a survivor, the walk 20 µs times n / survivors (100,000 × 384, avx512vnni, recall@10
# 0.95). The walk's side holds for filters that have nothing to do with the query; where the survivors lie elsewhere it
# costs several times as much, and the scan the same. `python -m deploy.bench_filters` prints where the two cross.
FEW = 28
# A scan of everything reads in order, four times as fast as picking: it pays from every fourth row on.
SPARSE = 4


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

    def scan_at(self, queries: NDArray[np.float32], k: int, keep: Bitmap) -> Found:
        """As `scan`, over the survivors' rows alone: their codes are read one by one and nothing between them."""
        metric: Metric = "l2" if self.metric == "l2" else "ip"
        return exact.search_at(queries, self.vectors, k, metric, keep.rows32, codes=self.codes)


def scans(keep: Bitmap | None) -> bool:
    """Whether so few rows survive that all of them are compared."""
    return keep is not None and keep.count <= FEW * math.isqrt(keep.size)


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
    if keep is not None and (scans(keep) or (exactly and keep.count <= len(rows.vectors) // SPARSE)):
        return rows.scan_at(queries, k, keep)
    if exactly or searcher is None:
        return rows.scan(queries, k, keep)
    found = searcher.search(queries, k, effort, keep)
    wanted = k if keep is None else min(k, keep.count)
    short = np.flatnonzero(found.rows[:, wanted - 1] < 0)
    if len(short):
        rest = rows.scan(np.ascontiguousarray(queries[short]), k, keep)
        found.rows[short], found.scores[short], found.scored[short] = rest
    return found
