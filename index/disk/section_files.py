"""Files of a folder that sections are made in, mapped: what is written there need not be resident."""

import mmap
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from index.disk.sections import ALIGNMENT

_COPIED_AT_ONCE = 8 << 20  # bytes


class SectionFiles:
    """Memory for the sections of a layout, by name and size; `prefix` stands before the names of the files."""

    def __init__(self, folder: Path, prefix: str = "") -> None:
        self._folder, self._prefix = folder, prefix
        self._mapped: dict[str, mmap.mmap] = {}

    def __call__(self, name: str, size: int) -> NDArray[np.uint8]:
        with (self._folder / (self._prefix + name)).open("w+b") as file:
            # Reserved, not only sized: on a full disk a store into a mapping would end the process, not this call.
            os.posix_fallocate(file.fileno(), 0, -(-size // ALIGNMENT) * ALIGNMENT)
            self._mapped[name] = mmap.mmap(file.fileno(), 0)
        return np.frombuffer(self._mapped[name], np.uint8)

    def copy(self, name: str, array: NDArray[np.uint8]) -> NDArray[np.uint8]:
        copy = self(name, array.size)
        for start in range(0, array.size, _COPIED_AT_ONCE):
            part = array[start : start + _COPIED_AT_ONCE]
            copy[start : start + len(part)] = part
            self.drop()
        return copy

    def drop(self) -> None:
        """Gives back pages, which count as resident until then; who reads them gets them from the page cache."""
        for mapped in self._mapped.values():
            mapped.madvise(mmap.MADV_DONTNEED)

    def flush(self) -> None:
        for mapped in self._mapped.values():
            mapped.flush()

    def rename(self, prefix: str) -> None:
        for name in self._mapped:
            (self._folder / (self._prefix + name)).rename(self._folder / (prefix + name))
        self._prefix = prefix

    def remove(self) -> None:
        """Whoever reads them still may go on."""
        for name in self._mapped:
            (self._folder / (self._prefix + name)).unlink()
