"""A sieve over the delta: a few bits of each row say whether a search needs to look at it.

A delta has no graph. Scanning its codes reads a byte a dimension of every row. The signs of half the dimensions are a
thirteenth of that, and say of nearly all rows that they are not among the best (index/kernels/sieve.hpp). They may be
wrong about one in a thousand, so exact search does without.
"""

import numpy as np
from numpy.typing import NDArray

from index.disk.codes import Codes
from index.disk.layout import MAX_DIM
from index.kernels import _native
from index.search.exact import TopK
from index.search.generation import Generation

ROWS = 32  # of a group; what does not fill one is scored without a look at its signs
# Standard errors that an estimate may lie below what is wanted: 0.05 % of the best ten of 40,000 rows are lost.
MARGIN = 2.75
_SAMPLED, _RUN = 1024, 4  # rows of the generation that the frame is made from, and how many of them lie together


def sifts(generation: Generation) -> bool:
    """Whether searches of a generation may miss a row, so that those of its delta may as well."""
    return generation.family != "flat" and generation.dim <= MAX_DIM


class Signs:
    """The groups of a delta's rows. One thread adds; `over` may be used by any."""

    def __init__(self, generation: Generation, rows: int) -> None:
        """rows: room for so many."""
        self._l2, self._dim = generation.metric == "l2", generation.dim
        starts = np.linspace(0, max(0, generation.count - _RUN), _SAMPLED // _RUN).astype(np.int64)
        sample = np.concatenate([generation.vectors(start, start + _RUN) for start in np.unique(starts).tolist()])
        self._frame = np.empty(_native.sieve_frame_floats(self._dim), np.float32)
        _native.sieve_frame(np.ascontiguousarray(sample), self._l2, self._frame)
        self._groups = self._empty(rows)
        self._count = 0

    def grow(self, rows: int) -> None:
        groups = self._empty(rows)
        groups[: self._count] = self._groups[: self._count]
        self._groups = groups

    def extend(self, vectors: NDArray[np.float32]) -> None:
        """vectors: all rows (n, dim), of which new ones are at the end."""
        full = len(vectors) // ROWS
        _native.sieve_groups(
            self._frame, vectors[self._count * ROWS : full * ROWS], self._l2, self._groups[self._count : full]
        )
        self._count = full

    def over(self, vectors: NDArray[np.float32], codes: Codes) -> _native.Sieve:
        """For searches of these rows, which are all that were added by now."""
        scale = codes.step, codes.error_norm, codes.row_norm, codes.square_norms
        return _native.Sieve(self._frame, self._groups[: self._count], vectors, codes.codes, *scale, self._l2)

    def _empty(self, rows: int) -> NDArray[np.uint8]:
        return np.empty((rows // ROWS, _native.sieve_bytes(self._dim)), np.uint8)


def search(
    sieve: _native.Sieve,
    queries: NDArray[np.float32],
    k: int,
    least: NDArray[np.float32],
    keep: NDArray[np.uint64],
    margin: float = MARGIN,
) -> TopK:
    """The best k rows that `keep` has and that score at least `least` (q,), −1 where there are fewer.

    Args:
        queries: float32 (q, dim), checked.

    Returns:
        `scored` counts the rows that were scored from their codes.
    """
    shape = len(queries), k
    found = TopK(np.empty(shape, np.int64), np.empty(shape, np.float32), np.empty(len(queries), np.int64))
    sieve.search(queries, margin, least, keep, *found)
    return found
