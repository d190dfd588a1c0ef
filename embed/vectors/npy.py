"""Vectors in a .npy file: one reader for every command that takes one.

float16, float32 and float64 are taken, in C or Fortran order and either byte order. The file is mapped, so taking some
of its rows reads only those; what is handed out is always float32, in C order, and the caller's own to write to.
Nothing is ever unpickled. What cannot be ranked (other types, NaN, infinities) is refused with the file and the row.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embed.errors import EmbedError

_BYTES_PER_STEP = 32 << 20  # of float32 that are converted and checked at once
_WIDTHS = (2, 4, 8)


class NpyError(EmbedError):
    """A .npy file that holds no vectors, or vectors that cannot be used; the message names it."""


class NpyVectors:
    """The vectors of one file: `count` of `dim` dimensions.

    Raises NpyError for a file that is not an array of floats (n, dim) with at least one row.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._array = _mapped(path)
        if self._array.ndim != 2 or not self._array.size:
            raise _unexpected(path, self._array, "(n, dim), with at least one row")
        self.count, self.dim = self._array.shape

    def rows(self, which: slice | NDArray[np.int64] = slice(None)) -> NDArray[np.float32]:
        """float32 (rows, dim) of the chosen rows, in the order of `which`; raises NpyError where one is not finite."""
        numbers = np.arange(self.count)[which]
        out = np.empty((len(numbers), self.dim), np.float32)
        step = max(1, _BYTES_PER_STEP // (4 * self.dim))
        for start in range(0, len(numbers), step):
            part, chosen = out[start : start + step], numbers[start : start + step]
            with np.errstate(over="ignore"):
                # A slice of a map is read in order; picking by number is only for rows that are out of it.
                part[:] = self._array[chosen[0] : chosen[-1] + 1] if _in_a_row(chosen) else self._array[chosen]
            _check_finite(self.path, part, chosen)
        return out


def read_vector(path: Path) -> NDArray[np.float32]:
    """One vector, float32 (dim,), from a file of shape (dim,) or (1, dim); raises NpyError."""
    array = _mapped(path)
    if not array.size or array.shape not in ((array.size,), (1, array.size)):
        raise _unexpected(path, array, "(dim,) or (1, dim)")
    with np.errstate(over="ignore"):
        vector = np.array(array.reshape(-1), np.float32)
    _check_finite(path, vector[None], np.zeros(1, np.int64))
    return vector


def _mapped(path: Path) -> NDArray[Any]:
    try:
        with path.open("rb") as file:
            magic = file.read(6)
        if magic != np.lib.format.MAGIC_PREFIX:
            kind = "an .npz archive" if magic.startswith(b"PK") else "something else"
            raise NpyError(f"{path} is {kind}, expected one array as numpy.save(FILE, vectors) writes it")
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError as error:
        raise NpyError(f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, EOFError) as error:
        raise NpyError(f"{path} is not an array of numbers as numpy.save writes it: {error}") from error
    if array.dtype.kind != "f" or array.dtype.itemsize not in _WIDTHS:
        raise _unexpected(path, array, "(n, dim)")
    return array  # type: ignore[no-any-return]


def _unexpected(path: Path, array: NDArray[Any], shape: str) -> NpyError:
    return NpyError(
        f"{path} holds {array.dtype} of shape {array.shape}; expected float16, float32 or float64 of shape {shape}"
    )


def _in_a_row(numbers: NDArray[np.int64]) -> bool:
    return bool((np.diff(numbers) == 1).all())


def _check_finite(path: Path, rows: NDArray[np.float32], numbers: NDArray[np.int64]) -> None:
    bad = np.flatnonzero(~np.isfinite(rows).all(axis=1))
    if len(bad):
        row = rows[bad[0]]
        value = row[~np.isfinite(row)][0]
        raise NpyError(
            f"{path}: row {numbers[bad[0]]} (counted from 0) holds {value}, or a number beyond float32; "
            "expected finite numbers"
        )
