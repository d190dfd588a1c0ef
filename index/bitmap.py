"""Which rows a search may return: one bit a row, packed the way the kernels read it."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from index.errors import InputError


class Bitmap:
    """A filter's answer over `count` rows.

    given: bool (count,), or those bools packed by `np.packbits(…, bitorder="little")`, uint8 (⌈count / 8⌉,). Raises
    InputError for anything else.
    """

    def __init__(self, given: NDArray[Any], count: int) -> None:
        if given.dtype == np.bool_ and given.shape == (count,):
            given = np.packbits(given, bitorder="little")
        elif given.dtype != np.uint8 or given.shape != (-(-count // 8),):
            raise InputError(
                f"keep is {given.dtype} {given.shape}; expected bool ({count},), or its bits packed from the lowest, "
                f"uint8 ({-(-count // 8)},)"
            )
        padded = np.zeros(-(-count // 64) * 8, np.uint8)
        padded[: len(given)] = given
        if count % 8:
            padded[count // 8] &= (1 << count % 8) - 1
        self.words = padded.view("<u8")
        self.count = int(np.bitwise_count(self.words).sum())

    def rows(self) -> NDArray[np.int64]:
        """The rows whose bit is set, ascending."""
        return np.flatnonzero(np.unpackbits(self.words.view(np.uint8), bitorder="little")).astype(np.int64)
