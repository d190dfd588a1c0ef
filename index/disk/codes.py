"""int8 codes of float32 rows, as codes.i8 holds them: one scale for a whole set, and a proven bound on the error."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Metric = Literal["cosine", "ip", "l2"]


CODE_ALIGNMENT = 64  # bytes: a cache line; a row of codes starts on one


# Float32 products of vectors longer than this could overflow to infinity, and infinities do not rank.
LONGEST = 1e18


_ROWS_PER_CHUNK = 16384


@dataclass(frozen=True)
class Codes:
    """int8 codes of float32 rows under one scale for the whole set: x = step · code + error, |error| ≤ error_norm."""

    codes: NDArray[np.int8]  # (n, dim); rows start CODE_ALIGNMENT apart or a multiple of it
    step: float
    error_norm: float
    row_norm: float  # the longest row
    square_norms: NDArray[np.float32]  # (n,) for l2, empty otherwise


def norms(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """Euclidean length of each row, in float64, so that nothing overflows or vanishes. NaN and inf come through."""
    wide = vectors.astype(np.float64)
    lengths: NDArray[np.float64] = np.sqrt(np.vecdot(wide, wide))
    return lengths


def unit_rows(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows scaled to length 1. Raises ValueError, naming the row, for one that is zero or not finite."""
    length = norms(vectors)
    bad = np.flatnonzero(~np.isfinite(length) | (length == 0))
    if len(bad):
        what = "zero" if length[bad[0]] == 0 else "not finite"
        raise ValueError(f"row {bad[0]} is {what}: it has no direction, so no cosine")
    return (vectors / length[:, None]).astype(np.float32)


def code_stride(dim: int) -> int:
    """Bytes from one row of codes to the next."""
    return -(-dim // CODE_ALIGNMENT) * CODE_ALIGNMENT


def quantise(vectors: NDArray[np.float32], metric: Metric = "ip") -> Codes:
    """Codes of float32 (n, dim), held in memory. Finite vectors are the caller's duty."""
    n, dim = vectors.shape
    largest = max((float(np.abs(part).max()) for part in _chunks(vectors)), default=0.0)
    step = largest / 127 if largest > 0 else 1.0
    padded = np.zeros((n, code_stride(dim)), np.int8)
    square_norms = np.zeros(n if metric == "l2" else 0, np.float32)
    error_norm = row_norm = 0.0
    for start in range(0, n, _ROWS_PER_CHUNK):
        part = vectors[start : start + _ROWS_PER_CHUNK]
        codes, error, length = quantise_rows(part, step)
        padded[start : start + len(part), :dim] = codes
        error_norm, row_norm = max(error_norm, error), max(row_norm, float(length.max()))
        if metric == "l2":
            square_norms[start : start + len(part)] = length**2
    return Codes(padded[:, :dim], step, error_norm, row_norm, square_norms)


def quantise_rows(vectors: NDArray[np.float32], step: float) -> tuple[NDArray[np.int8], float, NDArray[np.float64]]:
    """Codes of some rows under a given step, the largest error in the 2-norm among them, and their lengths."""
    wide = vectors.astype(np.float64)
    codes = np.clip(np.rint(wide / step), -127, 127)
    error = wide - codes * step
    largest_error = float(np.sqrt(np.vecdot(error, error)).max(initial=0.0))
    length = np.sqrt(np.vecdot(wide, wide))
    return codes.astype(np.int8), largest_error, length


def _chunks(vectors: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    for start in range(0, len(vectors), _ROWS_PER_CHUNK):
        yield vectors[start : start + _ROWS_PER_CHUNK]
