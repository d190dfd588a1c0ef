"""Vectors turned into such as are all of one length, among which the nearest and the greatest product are the same.

One more dimension makes each as long as the longest (Bachrach et al., RecSys 2014).
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from index.disk import layout
from index.disk.codes import norms
from index.disk.sections import FloatRows

_SAME_LENGTH = 1e-3  # relative: below it, vectors count as of one length
_ROWS_AT_ONCE = 8192


def of_one_length(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """float32 (n, dim + 1), or the vectors as they are, if they are of one length already."""
    longest = _longest(vectors)
    return vectors if longest is None else _lengthened(vectors, longest)


def rows_of_one_length(rows: FloatRows, path: Path) -> FloatRows:
    """The same in a file, which is written unless the rows can stay as they are."""
    longest = _longest(rows.array)
    if longest is None:
        return rows
    with path.open("wb") as file:
        for start in range(0, len(rows.array), _ROWS_AT_ONCE):
            file.write(_lengthened(rows.array[start : start + _ROWS_AT_ONCE], longest).data)
            rows.drop()
    return FloatRows(path, rows.array.shape[1] + 1)


def _longest(vectors: NDArray[np.float32]) -> float | None:
    """None where all are of one length, or there can be no more dimensions."""
    parts = (norms(vectors[start : start + _ROWS_AT_ONCE]) for start in range(0, len(vectors), _ROWS_AT_ONCE))
    least, longest = np.inf, 0.0
    for part in parts:
        least, longest = min(least, float(part.min())), max(longest, float(part.max()))
    alike = least >= longest * (1 - _SAME_LENGTH)
    return None if alike or vectors.shape[1] >= layout.MAX_DIM else longest


def _lengthened(vectors: NDArray[np.float32], longest: float) -> NDArray[np.float32]:
    rest = np.sqrt(np.maximum(longest**2 - norms(vectors) ** 2, 0.0))
    return np.concatenate([vectors, rest[:, None].astype(np.float32)], axis=1)
