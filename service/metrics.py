"""What Prometheus sees: how many, how long at which stage, and what is being served.

Counters and histograms are fed by the request path, with their labels bound once, because looking a
label up costs more than counting. What describes the served generations is read from them at the
moment of the scrape, so that after a switch no series of the old generation lingers.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from service.admission import Admission
    from service.served import Served

STAGES = ("embed", "ann", "payload")

# Fifteen steps of about ×2.2 from 50 µs, less than any search over HTTP takes, to 10 s, the longest
# default deadline.
SECONDS = (
    5e-5,
    1e-4,
    2e-4,
    5e-4,
    1e-3,
    2e-3,
    5e-3,
    1e-2,
    2e-2,
    5e-2,
    0.1,
    0.2,
    0.5,
    1.0,
    2.0,
    5.0,
    10.0,
)
BATCH_SIZES = (1, 2, 4, 8, 16, 32)


class Metrics:
    """One registry an application, so that two in one process do not share numbers."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "perwatt_requests",
            "Requests answered, by operation and status.",
            ["operation", "status"],
            registry=self.registry,
        )
        self._latency = Histogram(
            "perwatt_request_seconds",
            "From the head of a request to the end of its answer.",
            ["operation"],
            buckets=SECONDS,
            registry=self.registry,
        )
        stages = Histogram(
            "perwatt_stage_seconds",
            "Time of a query in one stage of the path.",
            ["stage"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self.embed, self.ann, self.payload = (stages.labels(stage) for stage in STAGES)
        self.encode_batch = Histogram(
            "perwatt_encode_batch_texts",
            "Texts encoded in one forward pass.",
            buckets=BATCH_SIZES,
            registry=self.registry,
        )
        self.tokens = Counter("perwatt_tokens", "Tokens of query texts encoded.", registry=self.registry)
        self.vectors_scored = Counter("perwatt_vectors_scored", "Distances computed.", registry=self.registry)
        self.cpu = Counter(
            "perwatt_query_cpu_seconds",
            "Processor time of encode, search and payload.",
            registry=self.registry,
        )
        self._bound: dict[tuple[str, int], tuple[Counter, Histogram]] = {}

    def count_request(self, operation: str, status: int, seconds: float) -> None:
        bound = self._bound.get((operation, status))
        if bound is None:
            bound = (
                self._requests.labels(operation, str(status)),
                self._latency.labels(operation),
            )
            self._bound[operation, status] = bound
        bound[0].inc()
        bound[1].observe(seconds)

    def watch(self, served: Served, admission: Admission, kernels: dict[str, object]) -> None:
        self.registry.register(_Now(served, admission, kernels))

    def text(self) -> bytes:
        return generate_latest(self.registry)


class _Now(Collector):
    """What is loaded, and how much is being worked on, at the moment of the scrape."""

    def __init__(self, served: Served, admission: Admission, kernels: dict[str, object]) -> None:
        self._served = served
        self._admission = admission
        self._kernels = kernels

    def collect(self) -> Iterable[Metric]:
        info = GaugeMetricFamily(
            "perwatt_generation_info",
            "1 for the generation that answers for an index.",
            labels=["index", "generation", "model"],
        )
        vectors = GaugeMetricFamily("perwatt_vectors", "Vectors of an index.", labels=["index"])
        recall = GaugeMetricFamily(
            "perwatt_recall",
            "Recall@k measured at build time; low and high end its 95 % interval.",
            labels=["index", "k", "bound"],
        )
        refused = GaugeMetricFamily(
            "perwatt_reload_refused",
            "1 when the last reload of an index was refused and the old generation still answers.",
            labels=["index"],
        )
        kernel = GaugeMetricFamily("perwatt_kernel_info", "1 for the SIMD unit in use.", labels=["arch", "isa"])
        for name, loaded in self._served.all().items():
            info.add_metric([name, loaded.id, loaded.model or ""], 1)
            vectors.add_metric([name], loaded.count)
            measured = loaded.recall
            if measured is not None:
                for bound in ("value", "low", "high"):
                    value = getattr(measured, bound)
                    recall.add_metric([name, str(measured.k), bound], value)
            refused.add_metric([name], name in self._served.failures)
        working = GaugeMetricFamily("perwatt_requests_working", "Requests that hold a place now.")
        working.add_metric([], self._admission.working)
        waiting = GaugeMetricFamily("perwatt_requests_waiting", "Requests that wait for a place.")
        waiting.add_metric([], self._admission.waiting)
        kernel.add_metric([str(self._kernels["arch"]), str(self._kernels["isa"])], 1)
        return (info, vectors, recall, refused, working, waiting, kernel)
