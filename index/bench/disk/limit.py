"""No more than so much memory for a process, the page cache that it fills included: a control group of its own.

The group is made below the one that the benchmark is in, so every limit above goes on to hold; that takes root, or a
group that was handed over. A process that asks for more than can be given back is killed. Where no group can be made,
the private memory of the process is limited alone (RLIMIT_DATA), and the figures say so: the page cache is then the
machine's.
"""

from __future__ import annotations

import itertools
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from index import machine

Kind = Literal["cgroup v2", "cgroup v1", "rlimit"]
_NUMBERS = itertools.count()


class MemoryGroup:
    """One limit, and what is used of it. `folder` is None where no group could be made."""

    def __init__(self, folder: Path | None, limit_bytes: int) -> None:
        self.folder, self.limit_bytes = folder, limit_bytes

    @property
    def kind(self) -> Kind:
        if self.folder is None:
            return "rlimit"
        return "cgroup v2" if (self.folder / "memory.max").exists() else "cgroup v1"

    def join(self) -> None:
        """Puts this process under the limit. What it has in memory by now is not counted."""
        if self.folder is not None:
            (self.folder / "cgroup.procs").write_text(str(os.getpid()))
            return
        most = _private_bytes() + self.limit_bytes
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))

    def used(self) -> dict[str, int]:
        """Bytes that are in memory now, private and of files, and the most there were; none without a group."""
        if self.folder is None:
            return {}
        stat = dict(line.split() for line in (self.folder / "memory.stat").read_text().splitlines())
        new = self.kind == "cgroup v2"
        peak = self.folder / ("memory.peak" if new else "memory.max_usage_in_bytes")
        return {
            "private_bytes": int(stat["anon" if new else "rss"]),
            "file_bytes": int(stat["file" if new else "cache"]),
            "peak_bytes": int(peak.read_text()) if peak.exists() else 0,
        }


@contextmanager
def memory_group(limit_bytes: int) -> Iterator[MemoryGroup]:
    """A group with that limit, removed at the end; its processes must have ended by then."""
    folder = _made(limit_bytes)
    try:
        yield MemoryGroup(folder, limit_bytes)
    finally:
        if folder is not None:
            folder.rmdir()


def _made(limit_bytes: int) -> Path | None:
    """The folder of a new group: below that of this process, or beside it where a group with processes may have none
    below it."""
    for parent in itertools.islice(machine.groups("memory"), 2):
        with suppress(OSError):  # only a group that is ours may hand the controller on
            (parent / "cgroup.subtree_control").write_text("+memory")
        folder = parent / f"perwatt-bench-{os.getpid()}-{next(_NUMBERS)}"
        try:
            folder.mkdir()
        except OSError:
            continue
        for name, unswapped in (("memory.max", "memory.swap.max"), ("memory.limit_in_bytes", "memory.swappiness")):
            if not (folder / name).exists():
                continue
            try:
                (folder / name).write_text(str(limit_bytes))
            except OSError:
                break
            with suppress(OSError):
                (folder / unswapped).write_text("0")
            return folder
        folder.rmdir()
    return None


def _private_bytes() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmData:"):
            return int(line.split()[1]) * 1024
    return 0
