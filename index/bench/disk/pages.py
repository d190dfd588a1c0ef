"""What of a file is in the page cache, and how it is dropped from there, for searches that begin with nothing."""

from __future__ import annotations

import ctypes
import mmap
import os
import tempfile
from pathlib import Path

import numpy as np

from index.bench.errors import BenchError

_LEFT = 0.02  # of a file's pages: another process may hold some of them mapped


def evict(folder: Path) -> None:
    """Drops all files of a folder from the page cache. Raises BenchError where they stay."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.stat().st_size]
    for path in files:
        with path.open("rb") as file:
            os.fsync(file.fileno())  # what was not written yet cannot be dropped
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    size, left = sum(path.stat().st_size for path in files), sum(cached_bytes(path) for path in files)
    if left > _LEFT * size + mmap.PAGESIZE:
        raise BenchError(
            f"{folder} stays in the page cache ({left / 2**20:.1f} of {size / 2**20:.1f} MiB), as files of a tmpfs do; "
            "name a folder on a disk with --work"
        )


def require_disk(folder: Path) -> None:
    """Raises BenchError for a folder whose files stay in memory, before anything large is made there."""
    with tempfile.TemporaryDirectory(dir=folder) as some:
        (Path(some) / "page").write_bytes(bytes(1 << 20))
        evict(Path(some))


def cached_bytes(path: Path) -> int:
    """Whole pages of a file that are in memory."""
    size = path.stat().st_size
    with path.open("rb") as file, mmap.mmap(file.fileno(), size, prot=mmap.PROT_READ) as mapped:
        start = np.frombuffer(mapped, np.uint8)
        pages = np.zeros(-(-size // mmap.PAGESIZE), np.uint8)
        address, length = ctypes.c_void_p(start.ctypes.data), ctypes.c_size_t(size)
        if ctypes.CDLL(None, use_errno=True).mincore(address, length, ctypes.c_void_p(pages.ctypes.data)):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(path))
        del start  # or the mapping could not be closed
    return int((pages & 1).sum()) * mmap.PAGESIZE
