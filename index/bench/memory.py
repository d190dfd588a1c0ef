"""The memory that a benchmark reads: how large sets are that stay in a cache or in none, and how long a call takes.

The yardstick is this machine's own read bandwidth at the same size and on the same threads: the sum of all 64-bit words
(index/kernels/bandwidth.cpp), read as 1, 2 or 4 streams, of which the best counts. It is measured in the same rounds.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from index import machine
from index.bench.errors import BenchError

STREAMS = (1, 2, 4)
LEAST_SECONDS = 0.02  # a short pass is repeated this long
LEAST_MEMORY_SET = 1 << 30
CACHES = Path("/sys/devices/system/cpu/cpu0/cache")
STEP = 4 * 512 * 64  # every set is a multiple: of the streams' steps, on as many threads as there will be

Call = Callable[[], object]


class Places(NamedTuple):
    """Bytes of the sets."""

    cached: int
    shared: int  # in the last-level cache, beyond a core's own: several cores may share it, or several guests
    memory: int


def places() -> Places:
    """From the caches of the first core, or from common sizes where the system does not tell."""
    level2, level3 = cache_bytes(2) or 1 << 20, cache_bytes(3) or 32 << 20
    memory = max(LEAST_MEMORY_SET, 2 * level3)
    if memory > machine.memory_available_bytes() // 3:
        raise BenchError(
            f"a set that no cache holds takes {memory / 2**30:.1f} GiB here, and twice that is not free "
            f"({machine.memory_available_bytes() / 2**30:.1f} GiB are)."
        )
    return Places(*(size - size % STEP for size in (level2 // 2, min(8 * level2, level3 // 2), memory)))


def cache_bytes(level: int) -> int:
    """Size of the data or unified cache of this level, 0 if it is not known."""
    for entry in CACHES.glob("index*"):
        try:
            if int((entry / "level").read_text()) == level and (entry / "type").read_text().strip() != "Instruction":
                size = (entry / "size").read_text().strip()
                return int(size[:-1]) << {"K": 10, "M": 20}[size[-1]]
        except (OSError, ValueError, KeyError):
            continue
    return 0


def threads_of_libraries() -> Any:
    """One thread for NumPy's BLAS and FAISS's OpenMP."""
    importlib.import_module("faiss")
    return importlib.import_module("threadpoolctl").threadpool_limits(1)


def timed(call: Call) -> float:
    """Seconds a call: one, or the mean of as many as fill LEAST_SECONDS."""
    started = time.perf_counter()
    call()
    first = time.perf_counter() - started
    calls = int(LEAST_SECONDS / max(first, 1e-9))
    if calls < 2:
        return first
    started = time.perf_counter()
    for _ in range(calls):
        call()
    return (time.perf_counter() - started) / calls
