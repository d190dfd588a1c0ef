"""The process that one engine lives in: it takes orders as JSON lines from a socket and answers each with one.

    {"do": "build", …}   → {"seconds", "cpu_seconds", "peak_rss_bytes", …}
    {"do": "load", …}    → {"private_bytes", "mapped_bytes"}: how much the process grew
    {"do": "search", …}  → {"seconds", "cpu_seconds", "recall"}
    {"do": "memory"}     → as after loading, now that searches have touched what they read

What goes wrong is answered as {"error": …}; what goes very wrong ends the process, and the other side notices. The
kernel ends it too when the other side dies, even while it is stopped.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from embed.vectors.provenance import peak_rss_bytes, reset_peak_rss
from index.bench.ann.engine import Engine, Float, Setting

_PR_SET_PDEATHSIG = 1  # Linux include/uapi/linux/prctl.h


class Worker:
    """Answers orders about one engine."""

    def __init__(self, place: str, arguments: dict[str, Any]) -> None:
        module, name = place.split(":")
        self._engine: Engine = getattr(importlib.import_module(module), name)(**arguments)
        self._queries: Float = np.zeros((0, 0), np.float32)
        self._truth: dict[int, NDArray[np.int64]] = {}
        self._limits: Any = None
        self._threads = 0
        self._before = (0, 0)

    def build(self, vectors: str, metric: Any, threads: int, folder: str) -> dict[str, Any]:
        # In memory before the clock starts, as an array that any library may keep a pointer to; or left where it is.
        array = np.load(vectors, mmap_mode="r")
        if not getattr(self._engine, "reads_files", False):
            array = np.array(array, np.float32, order="C")
        self._limit(threads)
        reset_peak_rss()
        resident = sum(resident_bytes())
        wall, cpu = time.perf_counter(), time.process_time()
        self._engine.build(array, metric, threads, Path(folder))
        seconds, cpu_seconds = time.perf_counter() - wall, time.process_time() - cpu
        peak = peak_rss_bytes() - resident
        extra = self._engine.save(Path(folder))
        size = sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file())
        figures = {"seconds": seconds, "cpu_seconds": cpu_seconds, "threads": threads, "peak_growth_bytes": peak}
        return figures | {"file_bytes": size} | extra

    def load(
        self, folder: str, rows: int, dim: int, metric: Any, queries: str, truth: dict[str, str]
    ) -> dict[str, Any]:
        self._queries = np.load(queries)
        self._truth = {int(k): np.load(path) for k, path in truth.items()}
        gc.collect()
        self._before = resident_bytes()
        self._engine.load(Path(folder), rows, dim, metric)
        return self.memory()

    def memory(self) -> dict[str, Any]:
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)
        now = resident_bytes()
        return {"private_bytes": now[0] - self._before[0], "mapped_bytes": now[1] - self._before[1]}

    def search(
        self, k: int, setting: list[int], threads: int, count: int | None = None, judge: bool = False
    ) -> dict[str, Any]:
        """One pass over the first `count` queries in one call; their recall if asked for."""
        self._limit(threads)
        queries = self._queries[:count]
        how = Setting(*setting)
        if judge:  # the first with a setting; a thread pool or a buffer may have to grow
            self._engine.search(queries[:32], k, how, threads)
        wall, cpu = time.perf_counter(), time.process_time()
        rows = self._engine.search(queries, k, how, threads)
        seconds, cpu_seconds = time.perf_counter() - wall, time.process_time() - cpu
        answer: dict[str, Any] = {"seconds": seconds, "cpu_seconds": cpu_seconds, "queries": len(queries)}
        if judge:
            answer["recall"] = recall(rows, self._truth[k][:count], k)
        return answer

    def _limit(self, threads: int) -> None:
        """For OpenMP and BLAS. Not at every search: it looks through all libraries of the process."""
        if threads != self._threads:
            self._limits = threadpool_limits(threads)
            self._threads = threads


def recall(rows: NDArray[Any], truth: NDArray[np.int64], k: int) -> float:
    """Share of the k best of each query that is among `rows` (q, ≤ k), each counted once.

    `truth` (q, ≥ k) has every row that is as good as the k-th best, −1 where there are none: with equal vectors in the
    set any k of those are right.
    """
    if rows.ndim != 2 or len(rows) != len(truth) or rows.shape[1] > k:
        raise ValueError(f"the answer has shape {rows.shape}, expected ({len(truth)}, {k})")
    rows = np.sort(rows.astype(np.int64), axis=1)
    rows[:, 1:][rows[:, 1:] == rows[:, :-1]] = -1
    hits = 0
    for start in range(0, len(rows), 256):  # 256 × 100 × 150 comparisons at once
        part, right = rows[start : start + 256], truth[start : start + 256]
        found = (part[:, :, None] == right[:, None, :]).any(2) & (part >= 0)
        hits += int(np.minimum(found.sum(1), k).sum())
    return hits / (len(rows) * k)


def resident_bytes(pid: int | str = "self") -> tuple[int, int]:
    """Private and mapped memory that is resident: RssAnon, and RssFile with RssShmem. Raises OSError or KeyError for a
    process that has ended."""
    sizes = {}
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        name, _, rest = line.partition(":")
        if name.startswith("Rss"):
            sizes[name] = int(rest.split()[0]) * 1024
    return sizes["RssAnon"], sizes["RssFile"] + sizes["RssShmem"]


def main(descriptor: int, kind: type[Worker] = Worker) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    with socket.socket(fileno=descriptor) as link, link.makefile("rw", encoding="utf-8") as lines:
        worker: Worker | None = None
        for line in lines:
            order = json.loads(line)
            what = order.pop("do")
            try:
                if what == "become":
                    worker = kind(**order)
                    answer: dict[str, Any] = {}
                else:
                    answer = getattr(worker, what)(**order)
            except Exception as error:  # whatever a library raises: its engine is named with it, the others go on
                answer = {"error": f"{type(error).__name__}: {error}"}
            lines.write(json.dumps(answer) + "\n")
            lines.flush()
    os._exit(0)  # some libraries hang or crash in their own farewell


if __name__ == "__main__":
    main(int(sys.argv[1]))
