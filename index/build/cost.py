"""What a build cost: seconds, processor time and memory, and on what. Reports later turn it into joules and dollars.

It is read from the manifest for as long as the generation lives, so it holds all that a reader needs to judge the
figures: threads, processor, kernels and versions.
"""

import time
from typing import Any

import numpy as np

from embed.vectors.provenance import own_version, peak_rss_bytes, reset_peak_rss
from index import kernels, machine
from index.search.untyped import faiss


class Clock:
    """Measures one build from its creation on."""

    def __init__(self) -> None:
        reset_peak_rss()
        self._start = self._last = time.perf_counter()
        self._cpu_start = time.process_time()
        self._steps: dict[str, float] = {}

    def lap(self, step: str) -> None:
        """Ends a step; its seconds are those since the last one ended."""
        now = time.perf_counter()
        self._steps[step], self._last = round(now - self._last, 3), now

    def record(self, rows: int, threads: int) -> dict[str, Any]:
        """The manifest's `build`: seconds of wall and processor time so far, peak memory, and what it was done with."""
        return {
            "rows": rows,
            "seconds": round(time.perf_counter() - self._start, 3),
            "cpu_seconds": round(time.process_time() - self._cpu_start, 3),
            "step_seconds": self._steps,
            "peak_memory_bytes": peak_rss_bytes(),
            "threads": threads,
            "processor": machine.processor_name(),
            "isa": kernels.info()["isa"],
            "versions": {"perwatt": own_version(), "faiss": faiss.__version__, "numpy": np.__version__},
        }
