"""Temporary folders in memory, where there is enough of it.

Whatever is built, written or switched waits for the disk several times, and the tests do so thousands of times. How
little may be lost when a machine dies is shown on a disk that is made to lose it (faulty_disk.py), not on a real one.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import psutil

MEMORY = Path("/dev/shm")
# The folders of a run hold 1 GB at most, and its processes 3 GB each.
FREE, AVAILABLE = 4 << 30, 12 << 30


def move() -> None:
    """All temporary files of this process and those that it starts, unless the environment names a place for them."""
    if "TMPDIR" not in os.environ and MEMORY.is_dir():
        disk = os.statvfs(MEMORY)
        plain = disk.f_flag & (os.ST_NOEXEC | os.ST_RDONLY) == 0  # tests write programs and start them
        if plain and disk.f_bavail * disk.f_frsize >= FREE and psutil.virtual_memory().available >= AVAILABLE:
            os.environ["TMPDIR"] = str(MEMORY)
            tempfile.tempdir = None
