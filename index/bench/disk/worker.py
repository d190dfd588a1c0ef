"""The process of one contender: as in ../ann/worker.py, and one query at a time under a limit of memory.

{"do": "load", …, "group", "limit_bytes"}   joins the group before the index is opened
{"do": "ask", …}                            → what so many queries took, what was read, and who else was at work
{"do": "used"}                              → what the group holds
"""

from __future__ import annotations

import os
import resource
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from index.bench.ann.engine import Setting
from index.bench.ann.worker import Worker, main, recall, resident_bytes
from index.bench.disk.limit import MemoryGroup
from index.machine import busy_s


class _UsedSoFar(NamedTuple):
    wall_s: float
    cpu_s: float
    busy_s: float  # of all processors, by anyone
    read_bytes: int  # by this process from disks, whichever way
    faults: int  # pages of mappings that were waited for
    reads: int  # that the engine says it asked for

    def since(self, start: _UsedSoFar) -> _UsedSoFar:
        return _UsedSoFar(
            self.wall_s - start.wall_s,
            self.cpu_s - start.cpu_s,
            self.busy_s - start.busy_s,
            self.read_bytes - start.read_bytes,
            self.faults - start.faults,
            self.reads - start.reads,
        )


class DiskWorker(Worker):
    _group = MemoryGroup(None, 0)

    def load(self, *, group: str | None = None, limit_bytes: int = 0, **order: Any) -> dict[str, Any]:  # type: ignore[override]
        """limit_bytes: 0 for none. Says what was in memory before."""
        before = sum(resident_bytes())
        if limit_bytes:
            self._group = MemoryGroup(Path(group) if group else None, limit_bytes)
            self._group.join()
        return super().load(**order) | {"before_bytes": before}

    def ask(self, k: int, setting: list[int], first: int, count: int) -> dict[str, Any]:
        """`count` queries from `first` on, each by itself, on one thread."""
        self._limit(1)
        queries, how = self._queries[first : first + count], Setting(*setting)
        start = self._spent()
        found = [self._engine.search(query[None], k, how, 1) for query in queries]
        spent = self._spent().since(start)
        others = (spent.busy_s - spent.cpu_s) / max(1e-9, spent.wall_s * (os.cpu_count() or 1))
        return {
            "queries": len(queries),
            "seconds": spent.wall_s,
            "cpu_seconds": spent.cpu_s,
            "read_bytes": spent.read_bytes,
            "faults": spent.faults,
            "reads": spent.reads,
            "others": min(1.0, max(0.0, others)),
            "recall": recall(np.concatenate(found), self._truth[k][first : first + count], k),
        }

    def used(self) -> dict[str, Any]:
        return self._group.used()

    def _spent(self) -> _UsedSoFar:
        reads = getattr(self._engine, "reads", None)
        return _UsedSoFar(
            time.perf_counter(),
            time.process_time(),
            busy_s(),
            _read_bytes(),
            resource.getrusage(resource.RUSAGE_SELF).ru_majflt,
            0 if reads is None else reads(),
        )


def _read_bytes() -> int:
    for line in Path("/proc/self/io").read_text().splitlines():
        if line.startswith("read_bytes:"):
            return int(line.split()[1])
    return 0


if __name__ == "__main__":
    main(int(sys.argv[1]), DiskWorker)
