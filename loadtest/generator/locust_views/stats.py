"""Feeding Locust's statistics in batches, so that its console, web UI, CSV and HTML show the run as Locust would.

Locust's own way is one event a request through every listener, some 10 µs each, which alone would halve what a
generator core can send. The sums are the same whether they are added one by one or a batch at a time; a test holds them
equal to what `StatsEntry.log` makes of the same values. What Locust times is the service time, and it rounds it to
whole milliseconds below 100 ms: that is left as it is, because seeing it beside our own numbers is instructive.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import numpy as np
from locust import stats
from numpy.typing import NDArray

_ROUNDING = stats.bucket_response_time


def log_batch(entry: Any, service_ms: NDArray[np.float64], bytes_each: int = 0) -> None:
    """Add `service_ms` to a locust StatsEntry, as so many calls of `entry.log` at this moment would."""
    if not service_ms.size:
        return
    now = time.time()
    second = int(now)
    last = entry.last_request_timestamp
    if entry.use_response_times_cache and last and second > int(last):
        entry._cache_response_times(second - 1)
    count = int(service_ms.size)
    entry.num_requests += count
    entry.num_reqs_per_sec[second] += count
    entry.last_request_timestamp = now
    entry.total_response_time += float(service_ms.sum())
    lowest, highest = float(service_ms.min()), float(service_ms.max())
    known = entry.min_response_time
    entry.min_response_time = lowest if known is None else min(known, lowest)
    entry.max_response_time = max(entry.max_response_time, highest)
    times = entry.response_times
    below = service_ms < 100
    if stats.bucket_response_time is not _ROUNDING:
        below = np.zeros_like(below)  # somebody replaced the rounding: ask it about each value
    # Locust rounds these to whole ms, half to even, as rint does; a call for each would take 0.5 µs.
    for value, number in zip(*np.unique(np.rint(service_ms[below]), return_counts=True), strict=True):
        times[int(value)] += int(number)
    for slow in service_ms[~below].tolist():
        times[stats.bucket_response_time(slow)] += 1
    entry.total_content_length += bytes_each * count


def feed(into: Any, method: str, name: str, service_s: NDArray[np.float64], failed: Counter[str]) -> None:
    """A batch of answered requests, and what failed since the last batch by kind."""
    service_ms = service_s * 1e3
    log_batch(into.total, service_ms)
    log_batch(into.entries[(name, method)], service_ms)
    for kind, number in failed.items():
        for _ in range(min(number, 1000)):  # an outage of minutes must not stop the loop
            into.log_error(method, name, kind)
