"""Scores what an approximate search found once more in float32, with the kernels of exact search.

So a row has the same score whichever way it was found, ties are broken by row, and codes or another library's rounding
never show in an answer.
"""

import numpy as np
from numpy.typing import NDArray

from index.kernels import _native
from index.search.exact import TopK


def rescore(
    queries: NDArray[np.float32],
    vectors: NDArray[np.float32],
    candidates: NDArray[np.int64],
    scored: NDArray[np.int64],
    k: int,
    *,
    l2: bool,
) -> TopK:
    """The best k of each query's candidates (q, m), −1 for none."""
    count = len(queries)
    found = TopK(np.empty((count, k), np.int64), np.empty((count, k), np.float32), np.empty(count, np.int64))
    _native.rescore(queries, vectors, np.ascontiguousarray(candidates), l2, *found)
    return found._replace(scored=scored)
