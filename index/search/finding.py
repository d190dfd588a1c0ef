"""One search of a generation: which way to go, and that the answer always holds min(k, survivors) rows.

    few survivors               a scan of just their codes
    exact, or no structure      a scan of all codes, which skips blocks that a filter drops
    otherwise                   the structure; queries for which it found too few are scanned

A filter never cuts an answer afterwards: it is in the walk, or in the scan.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from index.disk.codes import Codes, Metric
from index.search import exact
from index.search.bitmap import Bitmap
from index.search.exact import TopK


def effort_for(points: Sequence[dict[str, Any]], recall: float) -> int | None:
    """The least measured effort whose lower bound reaches `recall`."""
    good = [int(point["effort"]) for point in points if point["low"] >= recall]
    return min(good, default=None)


# What one vector compared on the way of a structure costs, in survivors that a scan compares in the same time: a visit
# of a walk is some 35 cache lines and a group of neighbours, a row of a list some fast-scan codes and its share of the
# rescoring. Through a filter a structure has to compare n / survivors times as much as without one, so both ways cost
# the same at √(WORTH · compared · n) survivors. Measured by `python -m index.bench.filters` (WordNet, 384 dimensions,
# avx512vnni, one thread; the crossing lies between two steps of the benchmark) against what this says:
#   graph, 100,000 rows   effort 193 (recall 0.95)   4,000 to 8,000 (8,037)   500 (default)   16,000 to 32,000 (22,544)
#   graph,  25,000 rows   effort 168 (recall 0.95)   2,000 to 4,000 (3,643)   420 (default)    4,000 to  8,000  (8,635)
#   ivf,   100,000 rows                                                        49 (default)   16,000 to 32,000 (28,821)
# At 1,000 of 100,000 the graph would take 18 ms (default effort: 298 ms), and the scan of the survivors takes 0.05 ms.
# The structure's side holds for filters that have nothing to do with the query; where the survivors lie elsewhere it
# costs several times as much, and the scan the same.
WORTH = {"graph": 20.0, "ivf": 1.0}
# A scan of everything reads in order, four times as fast as picking: it pays from every fourth row on.
SPARSE = 4


class Searcher(Protocol):
    """How a family finds the best k ≤ n rows, or fewer. Scores are those of exact search."""

    def search(self, queries: NDArray[np.float32], k: int, effort: int, keep: Bitmap | None = None) -> TopK: ...


@dataclass(frozen=True)
class ScannedRows:
    """What every way looks at: float32 rows, their codes, and how they are compared."""

    vectors: NDArray[np.float32]
    codes: Codes
    metric: Metric
    threads: int

    def scan(self, queries: NDArray[np.float32], k: int, keep: Bitmap | None = None) -> TopK:
        metric: Metric = "l2" if self.metric == "l2" else "ip"  # cosine rows and queries are of length 1 by now
        words = None if keep is None else keep.words
        return exact.search(queries, self.vectors, k, metric, codes=self.codes, threads=self.threads, keep=words)

    def scan_at(self, queries: NDArray[np.float32], k: int, keep: Bitmap) -> TopK:
        """As `scan`, over the survivors' rows alone: their codes are read one by one and nothing between them."""
        metric: Metric = "l2" if self.metric == "l2" else "ip"
        return exact.search_at(queries, self.vectors, k, metric, keep.rows32, codes=self.codes)


def few(family: str, count: int, compared: float) -> int:
    """Up to how many survivors of `count` rows are all compared, where a search without a filter compares so many."""
    return count if family not in WORTH else min(count, math.isqrt(int(WORTH[family] * compared * count)))


def find(
    rows: ScannedRows,
    searcher: Searcher | None,
    queries: NDArray[np.float32],
    k: int,
    effort: int,
    *,
    keep: Bitmap | None = None,
    exactly: bool = False,
    few: int = 0,
) -> TopK:
    """The best k ≤ n of each query; rows are −1 only where fewer than k survive the filter. Up to `few`
    survivors are all compared."""
    if keep is not None and (keep.count <= few or (exactly and keep.count <= len(rows.vectors) // SPARSE)):
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
