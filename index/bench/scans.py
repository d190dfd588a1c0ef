"""The exact int8 scan on one thread and on all, in each place, against what as many threads read of it.

It is measured through `index.search.exact.search`, k = 10, all of it: quantising the query, the int8 scan, and float32
scores for what may belong to the answer. A set of a core's own cache is scanned in 10 µs and would measure the call;
there a batch of queries is asked, which the scan answers block by block, and bytes count once a query.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from index import machine
from index.bench.memory import STEP, STREAMS, Call, Places, timed
from index.disk.codes import Codes
from index.kernels import _native
from index.search import exact

SCAN_DIM = 384
K = 10
CACHED_QUERIES = 64


def scans(memory: NDArray[np.uint8], sets: Places, rounds: int) -> list[dict[str, Any]]:
    """The exact int8 scan on one thread and on all, in each place, against what as many threads read of it."""
    cores = machine.cores()
    found = []
    for place, size in sets._asdict().items():
        for threads in sorted({1, cores}):
            if place == "cached" and threads > 1:
                continue  # a set of one core's cache is not divided: starting a thread takes longer than the scan
            rows = size // SCAN_DIM
            raw = memory[:size]
            queries = CACHED_QUERIES if place == "cached" else 1
            search = _scan(raw[: rows * SCAN_DIM].view(np.int8).reshape(-1, SCAN_DIM), queries, threads)
            best, read = float("inf"), 0.0
            search()
            with ThreadPoolExecutor(threads) as pool:
                for _ in range(rounds):
                    read = max(read, *(size / timed(_reader(raw, streams, threads, pool)) for streams in STREAMS))
                    best = min(best, timed(search) / queries)
            found.append(
                {
                    "place": place,
                    "threads": threads,
                    "rows": rows,
                    "queries": queries,
                    "ns_per_row": round(1e9 * best / rows, 2),
                    "gb_per_s": round(rows * SCAN_DIM / best / 1e9, 2),
                    "read_gb_per_s": round(read / 1e9, 2),
                    "share_of_read": round(rows * SCAN_DIM / best / read, 3),
                }
            )
    return found


def _scan(codes: NDArray[np.int8], count_asked: int, threads: int) -> Call:
    """A search over codes whose float32 rows are all one row: they would be four times the set, and it reads a few."""
    count, dim = codes.shape
    step = 1 / 127
    row = codes[0].astype(np.float32) * np.float32(step)
    rows = np.broadcast_to(row, (count, dim))
    length = step * float(np.sqrt(np.vecdot(codes[:1000].astype(np.float64), codes[:1000].astype(np.float64)).max()))
    known = Codes(codes, step, step * dim**0.5 / 2, length, np.zeros(0, np.float32))
    queries = codes[:count_asked].astype(np.float32)
    return lambda: exact.search(queries, rows, K, codes=known, threads=threads)


def _reader(raw: NDArray[np.uint8], streams: int, threads: int, pool: ThreadPoolExecutor) -> Call:
    if threads == 1:
        return lambda: _native.read_sum(raw, streams)
    threads = max(1, min(threads, raw.size // STEP))  # a step each, or the last one would read it all
    step = raw.size // threads // STEP * STEP
    parts = [raw[start * step : (start + 1) * step if start + 1 < threads else raw.size] for start in range(threads)]
    return lambda: list(pool.map(lambda part: _native.read_sum(part, streams), parts))
