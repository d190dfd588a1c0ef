"""Where each number of the metrics lies in a row of the slab, and what it is called when Prometheus asks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from service.telemetry.powercap import package_joules
from service.telemetry.slab import Slab
from service.telemetry.spending import process_cpu_s

STAGES = ("filter", "embed", "ann", "lexical", "sparse", "rerank", "payload")
STATUSES = (0, 200, 304, 400, 401, 403, 404, 405, 408, 410, 412, 413, 415, 422, 429, 431, 499, 500, 501, 503, 504, 505)
OTHER = "none"  # the operation of a request that reached none

# Steps of about ×2.2 from 50 µs, less than any search over HTTP takes, to 10 s, the longest default deadline.
SECONDS = (5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
BATCH_SIZES = (1, 2, 4, 8, 16, 32)


class RowLayout:
    """Where each number lies in a row: the same in every worker, because they are laid out from the same table."""

    def __init__(self, operations: Sequence[str]) -> None:
        self.operations = (*operations, OTHER)
        self.width = 0
        self.requests = self._take(len(self.operations) * len(STATUSES))
        self.latency = self._take(len(self.operations) * size_of(SECONDS))
        self.stages = self._take(len(STAGES) * size_of(SECONDS))
        self.encode_batch = self._take(size_of(BATCH_SIZES))
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


class NumbersCollector(Collector):
    """The numbers of all workers.

    Args:
        cache_bytes: taken by the vectors of queries seen before; None where there is no cache.
    """

    def __init__(self, layout: RowLayout, slab: Slab, cache_bytes: Callable[[], int] | None) -> None:
        self._layout, self._slab, self._cache_bytes = layout, slab, cache_bytes

    def collect(self) -> Iterable[Metric]:
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
            _add(latency, [operation], sums, layout.latency + at * size_of(SECONDS), SECONDS)
        stages = HistogramMetricFamily(
            "perwatt_stage_seconds", "Time of a query in one stage of the path.", labels=["stage"]
        )
        for at, stage in enumerate(STAGES):
            _add(stages, [stage], sums, layout.stages + at * size_of(SECONDS), SECONDS)
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
            yield CounterMetricFamily(name, text, sums[layout.of[key]])
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
            yield GaugeMetricFamily(name, text, sums[layout.of[key]])
        if self._cache_bytes is not None:
            yield GaugeMetricFamily(
                "perwatt_query_cache_bytes", "Taken by the vectors of queries seen before.", self._cache_bytes()
            )
        pids = [int(self._slab.row(worker)[layout.of["pid"]]) for worker in range(self._slab.workers)]
        yield GaugeMetricFamily(
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


def size_of(bounds: Sequence[float]) -> int:
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
