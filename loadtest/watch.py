"""The service's processes, seen from outside while the load runs: CPU and memory, when they are on this machine.

They are found by the port of the URL: whoever listens there, and its children. On another machine nothing is seen,
which is said and not guessed.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
from urllib.parse import urlsplit

import psutil


def listeners(url: str) -> list[psutil.Process]:
    """Processes listening at the URL's port on this machine, with their descendants; empty for another host."""
    parts = urlsplit(url)
    if parts.hostname not in ("127.0.0.1", "localhost", "::1"):
        return []
    found: dict[int, psutil.Process] = {}
    with contextlib.suppress(psutil.Error):
        for connection in psutil.net_connections("tcp"):
            port = connection.laddr.port if connection.laddr else None
            if connection.status != psutil.CONN_LISTEN or port != (parts.port or 80) or not connection.pid:
                continue
            process = psutil.Process(connection.pid)
            for each in (process, *process.children(recursive=True)):
                found[each.pid] = each
    return list(found.values())


def machine_cpu_s() -> tuple[float, float]:
    """CPU seconds that the whole machine has worked, and that were stolen from it, since it started."""
    times = psutil.cpu_times()
    worked = times.user + times.nice + times.system + times.irq + times.softirq  # guests are in user and nice
    return worked, times.steal


class Watcher:
    """Samples CPU and resident memory of processes over [start, stop) of time.monotonic(), in a thread."""

    def __init__(self, url: str) -> None:
        self._processes = listeners(url)
        self._thread: threading.Thread | None = None
        self._cut = threading.Event()
        self._stop = math.inf
        self.cores_used: float | None = None
        self.rss_bytes: list[int] = []
        self.watched = "not on this machine"
        self.busy_cores: float | None = None  # of the whole machine, by anyone
        self.stolen_cores: float | None = None

    def begin(self, start: float, stop: float) -> None:
        if self._processes:
            self.watched = f"{len(self._processes)} processes at the port"
            self._stop = stop
            self._thread = threading.Thread(target=self._run, args=(start, stop), daemon=True)
            self._thread.start()

    def cut(self, stop: float) -> None:
        """The window ends at `stop` already, which is still to come."""
        self._stop = stop
        self._cut.set()

    def _run(self, start: float, stop: float) -> None:
        time.sleep(max(start - time.monotonic(), 0))
        began, before = time.monotonic(), self._cpu_s()
        busy, stolen = machine_cpu_s()
        step_s = max((stop - start) / 3600, 1.0)  # at most 3600 values, also of a long soak
        while (left := self._stop - time.monotonic()) > 0:
            self.rss_bytes.append(self._rss())
            if self._cut.wait(min(left, step_s)):
                time.sleep(max(self._stop - time.monotonic(), 0))
        wall = time.monotonic() - began
        self.cores_used = round((self._cpu_s() - before) / wall, 4)
        busy_now, stolen_now = machine_cpu_s()
        self.busy_cores = round((busy_now - busy) / wall, 4)
        self.stolen_cores = round((stolen_now - stolen) / wall, 4)

    def _cpu_s(self) -> float:
        total = 0.0
        for process in self._processes:
            with contextlib.suppress(psutil.Error):
                times = process.cpu_times()
                total += times.user + times.system
        return total

    def _rss(self) -> int:
        total = 0
        for process in self._processes:
            with contextlib.suppress(psutil.Error):
                total += process.memory_info().rss
        return total

    def join(self) -> None:
        if self._thread is not None:
            self._thread.join(5)
