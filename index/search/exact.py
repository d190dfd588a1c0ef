"""Exact top-k: every vector is looked at, and the answer is that of float32 arithmetic, ties by row.

It is the ground truth of every recall figure, the whole search of small indexes, and what `exact=True` means. It
stands alone (nothing of this package is used but the kernels), so that a measurement from outside can use it too.

Two ways lead to the same rows and scores. Without codes every row is scored in float32. With codes (`quantise`) every
row is first scored in int8, a quarter of the bytes; each row whose int8 score is within a proven error bound of the
k-th best is then scored in float32, and nothing else can belong to the answer (index/kernels/scan.cpp has the bound).
With unit vectors of 384 dimensions some tens of rows are left to rescore, however many there are in all.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from index.disk.codes import LONGEST, Codes, Metric, unit_rows
from index.kernels import _native

# Starting a thread costs some 20 µs; scanning this many rows of 384 codes takes three times as long.
ROWS_WORTH_A_THREAD = 8192


class TopK(NamedTuple):
    """Rows and scores of the best k of each query, best first, ties by row.

    rows: int64 (q, k), −1 where there are fewer than k. scores: float32 (q, k), −inf there; higher is better for
    every metric: the inner product, or minus the squared distance for l2. scored: int64 (q,), how many vectors were
    compared with the query.
    """

    rows: NDArray[np.int64]
    scores: NDArray[np.float32]
    scored: NDArray[np.int64]


def search(
    queries: NDArray[np.float32],
    vectors: NDArray[np.float32],
    k: int,
    metric: Metric = "ip",
    *,
    codes: Codes | None = None,
    threads: int = 1,
    keep: NDArray[np.uint64] | None = None,
) -> TopK:
    """The k best rows of `vectors` (n, dim) for each of `queries` (q, dim), both float32.

    For cosine, queries and vectors are scaled to length 1 here, which copies the vectors: who searches often passes
    unit vectors and "ip". `keep` has a bit for each row that may be returned, row r's in word r // 64 from the lowest
    on. `codes` are those of `vectors` and change the speed, never the answer. Raises ValueError for shapes that do not
    fit, k < 1, and queries that are not finite.
    """
    queries, vectors = _checked(queries, vectors, k)
    if metric == "cosine":
        queries, vectors = unit_rows(queries), unit_rows(vectors)
    threads = max(1, min(threads, len(vectors) * max(1, len(queries)) // ROWS_WORTH_A_THREAD))
    found = scan(queries, vectors, k, codes, threads, l2=metric == "l2", keep=keep)
    found.scored[:] = len(vectors)
    return found


def search_at(
    queries: NDArray[np.float32],
    vectors: NDArray[np.float32],
    k: int,
    metric: Metric,
    rows: NDArray[np.uint32],
    *,
    codes: Codes,
) -> TopK:
    """As `search`, among `rows` (ascending) alone, on one thread. metric: ip or l2, and queries float32 (q, dim) that
    were checked."""
    found = scan(queries, vectors, k, codes, 1, l2=metric == "l2", at=rows)
    found.scored[:] = len(rows)
    return found


def scan(
    queries: NDArray[np.float32],
    vectors: NDArray[np.float32],
    k: int,
    codes: Codes | None,
    threads: int,
    *,
    l2: bool,
    keep: NDArray[np.uint64] | None = None,
    at: NDArray[np.uint32] | None = None,
) -> TopK:
    """As `search` for the inner product or l2, of queries that were checked; `scored` is as the kernel counts it."""
    shape = len(queries), k
    found = TopK(np.empty(shape, np.int64), np.empty(shape, np.float32), np.empty(len(queries), np.int64))
    if codes is None:
        _native.scan_f32(queries, vectors, l2, threads, *found, keep)
    else:
        scale = codes.step, codes.error_norm, codes.row_norm, codes.square_norms
        _native.scan_i8(queries, vectors, codes.codes, *scale, l2, threads, *found, keep, at)
    return found


def _checked(
    queries: NDArray[np.float32], vectors: NDArray[np.float32], k: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    for name, array in (("queries", queries), ("vectors", vectors)):
        if array.dtype != np.float32 or array.ndim != 2:
            raise ValueError(f"{name} are {array.dtype} {array.shape}; expected float32 in two dimensions")
    if queries.shape[1] != vectors.shape[1]:
        raise ValueError(f"queries have {queries.shape[1]} dimensions and vectors {vectors.shape[1]}")
    if k < 1:
        raise ValueError(f"k is {k}; expected at least 1")
    queries = np.ascontiguousarray(queries)
    bad = _native.prepare(queries, LONGEST, 1)
    if bad < len(queries):
        raise ValueError(f"query {bad} is not finite or longer than {LONGEST:g}")
    return queries, vectors
