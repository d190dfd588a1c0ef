"""Prometheus metrics: counts, times by stage, costs, and what is being served.

The numbers lie in a slab that all workers share (`slab.py`), one row per worker, so that any of them can answer a
scrape for all. Counting is one addition in a list of numbers; a library that takes a lock and looks up labels would
cost a search by vector a tenth of its time. The library still writes the text. What describes the served generations is
read at each scrape, so that no series of an old generation lingers after a switch.
"""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from service.telemetry.powercap import package_joules
from service.telemetry.slab import Slab
from service.telemetry.spending import process_cpu_s

STAGES = ("filter", "embed", "ann", "lexical", "rerank", "payload")
STATUSES = (0, 200, 304, 400, 401, 403, 404, 405, 408, 410, 412, 413, 415, 422, 429, 431, 499, 500, 501, 503, 504, 505)
OTHER = "none"  # the operation of a request that reached none

# Steps of about ×2.2 from 50 µs, less than any search over HTTP takes, to 10 s, the longest default deadline.
SECONDS = (5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
BATCH_SIZES = (1, 2, 4, 8, 16, 32)


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


class _Layout:
    """Where each number lies in a row: the same in every worker, because they are laid out from the same table."""

    def __init__(self, operations: Sequence[str]) -> None:
        self.operations = (*operations, OTHER)
        self.width = 0
        self.requests = self._take(len(self.operations) * len(STATUSES))
        self.latency = self._take(len(self.operations) * _size(SECONDS))
        self.stages = self._take(len(STAGES) * _size(SECONDS))
        self.encode_batch = self._take(_size(BATCH_SIZES))
        names = (
            *("queries", "tokens", "vectors_scored", "cpu", "shed", "timed_out", "documents_put", "documents_deleted"),
            *("hedges", "retries", "partials"),
            *("encoded_by_model", "encoded_by_fitted", "rerank_tokens"),
            *("query_hits", "query_misses", "working", "waiting", "connections", "closed_logs", "pid"),
        )
        self.of = {name: self._take(1) for name in names}

    def _take(self, numbers: int) -> int:
        at = self.width
        self.width += numbers
        return at


class Metrics:
    """
    Args:
        operations: the names that requests are counted under.
        slab: what is shared with the other workers, None: alone.
        worker: which row is ours.
    """

    def __init__(self, operations: Sequence[str] = (), slab: Slab | None = None, worker: int = 0) -> None:
        self._layout = layout = _Layout(operations)
        self._slab = Slab(layout.width) if slab is None else slab
        if self._slab.width < layout.width:
            raise ValueError(f"a row has {self._slab.width} numbers, {layout.width} are needed")
        self._row = row = self._slab.row(worker)
        self._of = {name: at for at, name in enumerate(layout.operations)}
        self._status = {status: at for at, status in enumerate(STATUSES)}
        self.filter, self.embed, self.ann, self.lexical, self.rerank, self.payload = (
            Spread(row, layout.stages + at * _size(SECONDS), SECONDS) for at in range(len(STAGES))
        )
        self._latency = [
            Spread(row, layout.latency + at * _size(SECONDS), SECONDS) for at in range(len(layout.operations))
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
        registry.register(_NumbersCollector(self))
        if self._watched is not None:
            registry.register(self._watched(may_see))
        for collector in more:
            registry.register(collector)
        return generate_latest(registry)

    def families(self) -> Iterable[Metric]:
        layout, sums = self._layout, self._slab.sums()
        requests = CounterMetricFamily(
            "perwatt_requests", "Requests answered, by operation and status.", labels=["operation", "status"]
        )
        latency = HistogramMetricFamily(
            "perwatt_request_seconds", "From the head of a request to the end of its answer.", labels=["operation"]
        )
        for at, operation in enumerate(layout.operations):
            for place, status in enumerate(STATUSES):
                number = sums[layout.requests + at * len(STATUSES) + place]
                if number:
                    requests.add_metric([operation, str(status)], number)
            _add(latency, [operation], sums, layout.latency + at * _size(SECONDS), SECONDS)
        stages = HistogramMetricFamily(
            "perwatt_stage_seconds", "Time of a query in one stage of the path.", labels=["stage"]
        )
        for at, stage in enumerate(STAGES):
            _add(stages, [stage], sums, layout.stages + at * _size(SECONDS), SECONDS)
        batches = HistogramMetricFamily("perwatt_encode_batch_texts", "Texts encoded in one forward pass.")
        _add(batches, [], sums, layout.encode_batch, BATCH_SIZES)
        yield from (requests, latency, stages, batches)
        for name, key, text in (
            ("perwatt_queries", "queries", "Queries answered, those of a batch each."),
            ("perwatt_tokens", "tokens", "Tokens of texts, encoded or seen before."),
            ("perwatt_rerank_tokens", "rerank_tokens", "Tokens that the reranker read."),
            ("perwatt_query_cache_hits", "query_hits", "Query texts that were seen before and not encoded."),
            ("perwatt_query_cache_misses", "query_misses", "Query texts that were looked up and had to be encoded."),
            ("perwatt_vectors_scored", "vectors_scored", "Distances computed."),
            ("perwatt_query_cpu_seconds", "cpu", "Processor time of encode, search and payload."),
            ("perwatt_shed", "shed", "Requests refused because the waiting line was full or too long."),
            ("perwatt_connections_timed_out", "timed_out", "Connections closed because a caller was too slow."),
            ("perwatt_documents_put", "documents_put", "Documents written and on the disk."),
            ("perwatt_documents_deleted", "documents_deleted", "Documents deleted, on the disk."),
            ("perwatt_shard_hedges", "hedges", "Of a router, slow requests that were sent to another replica too."),
            ("perwatt_shard_retries", "retries", "Of a router, failed requests that were sent to another replica."),
            ("perwatt_partial_answers", "partials", "Of a router, answers without some of the shards."),
        ):
            yield _counter(name, text, sums[layout.of[key]])
        encoded = CounterMetricFamily(
            "perwatt_texts_encoded", "Texts of searches, by what made their vectors.", labels=["encoder"]
        )
        for encoder in ("model", "fitted"):
            encoded.add_metric([encoder], sums[layout.of[f"encoded_by_{encoder}"]])
        yield encoded
        for name, key, text in (
            ("perwatt_requests_working", "working", "Requests that hold a place now."),
            ("perwatt_requests_waiting", "waiting", "Requests that wait for their turn."),
            ("perwatt_connections", "connections", "Open connections."),
            ("perwatt_writer_failed", "closed_logs", "Indexes that take no writes until a restart: a commit failed."),
        ):
            yield _gauge(name, text, sums[layout.of[key]])
        if self._cache_bytes is not None:
            yield _gauge(
                "perwatt_query_cache_bytes", "Taken by the vectors of queries seen before.", self._cache_bytes()
            )
        pids = [int(self._slab.row(worker)[layout.of["pid"]]) for worker in range(self._slab.workers)]
        yield _gauge(
            "perwatt_workers", "Worker processes that are alive.", sum(process_cpu_s(pid) is not None for pid in pids)
        )
        cpu = CounterMetricFamily(
            "perwatt_process_cpu_seconds", "Processor time of a worker process since it started.", labels=["worker"]
        )
        for worker, pid in enumerate(pids):
            seconds = process_cpu_s(pid)
            if seconds is not None:
                cpu.add_metric([str(worker)], seconds)
        yield cpu
        joules = CounterMetricFamily(
            "perwatt_machine_joules",
            "Energy counters of the processor packages, of the whole machine; absent where no sensor can be read.",
            labels=["zone"],
        )
        for zone, energy_j in package_joules():
            joules.add_metric([zone], energy_j)
        yield joules


class _NumbersCollector(Collector):
    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics.families()


def _size(bounds: Sequence[float]) -> int:
    return len(bounds) + 2  # what is beyond them, and the sum


def _add(
    family: HistogramMetricFamily, labels: list[str], sums: Sequence[float], at: int, bounds: Sequence[float]
) -> None:
    buckets: list[tuple[str, float]] = []
    total = 0.0
    for place, bound in enumerate((*bounds, float("inf"))):
        total += sums[at + place]
        buckets.append(("+Inf" if bound == float("inf") else repr(float(bound)), total))
    if total or not labels:
        family.add_metric(labels, buckets=buckets, sum_value=sums[at + len(bounds) + 1])


def _counter(name: str, text: str, value: float) -> Metric:
    family = CounterMetricFamily(name, text)
    family.add_metric([], value)
    return family


def _gauge(name: str, text: str, value: float) -> Metric:
    family = GaugeMetricFamily(name, text)
    family.add_metric([], value)
    return family
