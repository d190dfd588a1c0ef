"""Prometheus metrics: counts, times by stage, costs, and what is being served.

The numbers lie in a slab that all workers share (`slab.py`), one row per worker, so that any of them can answer a
scrape for all. Counting is one addition in a list of numbers; a library that takes a lock and looks up labels would
cost a search by vector a tenth of its time. The library still writes the text. What describes the served generations is
read at each scrape, so that no series of an old generation lingers after a switch.
"""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Callable, Sequence

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.registry import Collector

from service.telemetry.exposition import (
    BATCH_SIZES,
    OTHER,
    SECONDS,
    STAGES,
    STATUSES,
    NumbersCollector,
    RowLayout,
    size_of,
)
from service.telemetry.slab import Slab


class Count:
    """One number of a row."""

    __slots__ = ("_at", "_row")

    def __init__(self, row: memoryview[float], at: int) -> None:
        self._row, self._at = row, at

    def inc(self, by: float = 1.0) -> None:
        self._row[self._at] += by

    def set(self, value: float) -> None:
        self._row[self._at] = value


class Spread:
    """A histogram: a number a bucket, one for what is beyond them, and the sum."""

    __slots__ = ("_at", "_bounds", "_row", "_sum")

    def __init__(self, row: memoryview[float], at: int, bounds: Sequence[float]) -> None:
        self._row, self._at, self._bounds, self._sum = row, at, bounds, at + len(bounds) + 1

    def observe(self, value: float) -> None:
        row = self._row
        row[self._at + bisect_left(self._bounds, value)] += 1.0
        row[self._sum] += value


class Metrics:
    """
    Args:
        operations: the names that requests are counted under.
        slab: what is shared with the other workers, None: alone.
        worker: which row is ours.
    """

    def __init__(self, operations: Sequence[str] = (), slab: Slab | None = None, worker: int = 0) -> None:
        self._layout = layout = RowLayout(operations)
        self._slab = Slab(layout.width) if slab is None else slab
        if self._slab.width < layout.width:
            raise ValueError(f"a row has {self._slab.width} numbers, {layout.width} are needed")
        self._row = row = self._slab.row(worker)
        self._of = {name: at for at, name in enumerate(layout.operations)}
        self._status = {status: at for at, status in enumerate(STATUSES)}
        self.filter, self.embed, self.ann, self.lexical, self.sparse, self.rerank, self.payload = (
            Spread(row, layout.stages + at * size_of(SECONDS), SECONDS) for at in range(len(STAGES))
        )
        self._latency = [
            Spread(row, layout.latency + at * size_of(SECONDS), SECONDS) for at in range(len(layout.operations))
        ]
        search = self._of.get("search", self._of[OTHER])
        self._refused = layout.requests + search * len(STATUSES) + self._status[503]
        self._searches = self._latency[search]
        self._shed = layout.of["shed"]
        self.encode_batch = Spread(row, layout.encode_batch, BATCH_SIZES)
        numbers = {name: Count(row, at) for name, at in layout.of.items()}
        self._work = tuple(layout.of[name] for name in ("queries", "tokens", "vectors_scored", "cpu"))
        self.rerank_tokens = numbers["rerank_tokens"]
        self.shed, self.timed_out = numbers["shed"], numbers["timed_out"]
        self.documents_put, self.documents_deleted = numbers["documents_put"], numbers["documents_deleted"]
        self.hedges, self.retries, self.partials = numbers["hedges"], numbers["retries"], numbers["partials"]
        self._hits, self._misses = numbers["query_hits"], numbers["query_misses"]
        self.encoded_by_model, self.encoded_by_fitted = numbers["encoded_by_model"], numbers["encoded_by_fitted"]
        self._now = {name: numbers[name] for name in ("working", "waiting", "connections", "closed_logs")}
        numbers["pid"].set(os.getpid())
        self._look: Callable[[], dict[str, int]] = dict
        self._cache_bytes: Callable[[], int] | None = None
        self._watched: Callable[[Callable[[str], bool]], Collector] | None = None

    def count_request(self, operation: str, status: int, seconds: float) -> None:
        at = self._of.get(operation)
        if at is None:
            at = self._of[OTHER]
        self._row[self._layout.requests + at * len(STATUSES) + self._status.get(status, 0)] += 1.0
        self._latency[at].observe(seconds)

    def count_cached(self, hit: bool) -> None:
        """A query text that was looked up among those seen before."""
        (self._hits if hit else self._misses).inc()

    def watch_cache(self, used_bytes: Callable[[], int]) -> None:
        """
        Args:
            used_bytes: of the vectors of queries seen before, those of all workers.
        """
        self._cache_bytes = used_bytes

    def count_work(self, queries: float, tokens: float, vectors_scored: float, cpu_s: float) -> None:
        row, (at, at_tokens, at_scored, at_cpu) = self._row, self._work
        row[at] += queries
        row[at_tokens] += tokens
        row[at_scored] += vectors_scored
        row[at_cpu] += cpu_s

    def work(self) -> list[float]:
        """Queries, tokens, distances and processor seconds of all workers."""
        sums = self._slab.sums()
        return [sums[at] for at in self._work]

    def count_refused(self, seconds: float) -> None:
        """A search that was shed: `count_request` and `shed` in one, for thousands a second."""
        row = self._row
        row[self._refused] += 1.0
        row[self._shed] += 1.0
        self._searches.observe(seconds)

    def watch(self, collector: Callable[[Callable[[str], bool]], Collector]) -> None:
        """
        Args:
            collector: of what is loaded, under the names that a caller may see.
        """
        self._watched = collector

    def look_with(self, look: Callable[[], dict[str, int]]) -> None:
        """Sets the function that gives the present counts of working, waiting, connections and closed logs."""
        self._look = look

    def note(self) -> None:
        """Writes the present state into our row, once a second and at a scrape, for the worker that answers it."""
        for name, value in self._look().items():
            self._now[name].set(value)

    def text(self, may_see: Callable[[str], bool] = lambda _name: True, *more: Collector) -> bytes:
        """All numbers, what is served under the names that the caller may see, and `more` that is for that caller."""
        self.note()
        registry = CollectorRegistry()
        registry.register(NumbersCollector(self._layout, self._slab, self._cache_bytes))
        if self._watched is not None:
            registry.register(self._watched(may_see))
        for collector in more:
            registry.register(collector)
        return generate_latest(registry)
