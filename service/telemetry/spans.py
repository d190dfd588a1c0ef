"""Spans of the API's requests and of the stages of a search, for OpenTelemetry (the extra `perwatt[otel]`).

    POST /v1/indexes/{index}/search           server span, child of the caller's traceparent
    ├── filter                                where there is one
    ├── encode
    ├── search
    ├── lexical                               where words are searched
    ├── sparse                                where sparse weights are
    ├── rerank                                where hits are read again
    └── fetch                                 payloads

Behind a router that is traced too, the spans of its shards (`…/part`) are children of its own.

They are made once the answer has been sent, from the same stages and costs that the caller was told. So the path of a
request knows nothing of tracing, and no second set of clocks can disagree with the first. FastAPI's own telemetry is
off: it would see only what takes the general way, which hardly any search does. The lengths of the stages are exact.
They are laid end to end up to the end of the request, which is right within some tens of microseconds; what comes
before them is reading, decoding and waiting for a place.

A span has the route, status, index and id of the request, the name of its key, and the generation and cost of the
answer. It has nothing of the query, the filter, the hits or the ids of documents. Only requests that reach an endpoint
are traced, so callers without a key make no spans.

The SDK reads from the environment how to sample (OTEL_TRACES_SAMPLER) and batch (OTEL_BSP_…), and where to send what.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping
from typing import NamedTuple

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, get_current_span, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue

from embed.vectors.provenance import own_version

NAMES = {
    "filter": "filter",
    "embed": "encode",
    "ann": "search",
    "lexical": "lexical",
    "sparse": "sparse",
    "rerank": "rerank",
    "payload": "fetch",
}
CLOSE_S = 3.0  # for the last spans, when the collector does not answer: nobody's restart waits longer

_PROPAGATOR = TraceContextTextMapPropagator()


class BegunSpan(NamedTuple):
    """The ids of a span before it is made, for others to be its children."""

    trace_id: int
    span_id: int
    sampled: bool

    @property
    def traceparent(self) -> str:
        return f"00-{self.trace_id:032x}-{self.span_id:016x}-{self.sampled:02x}"


class _Ids(RandomIdGenerator):
    """Random ones, but for a span that has begun."""

    begun: BegunSpan | None = None

    def generate_span_id(self) -> int:
        return super().generate_span_id() if self.begun is None else self.begun.span_id

    def generate_trace_id(self) -> int:
        return super().generate_trace_id() if self.begun is None else self.begun.trace_id


class Spans:
    """Owns the provider of a process; made after the fork in a worker, because it has a thread."""

    def __init__(self) -> None:
        own: dict[str, AttributeValue] = {"service.version": own_version(), "process.pid": os.getpid()}
        if not os.environ.get("OTEL_SERVICE_NAME") and "service.name" not in os.environ.get(
            "OTEL_RESOURCE_ATTRIBUTES", ""
        ):
            own["service.name"] = "perwatt"
        self._ids = _Ids()
        self._provider = TracerProvider(resource=Resource.create(own), shutdown_on_exit=False, id_generator=self._ids)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("perwatt.service", own_version())

    def begin(self, trace: Mapping[str, str]) -> BegunSpan:
        """The ids that the span of a request will have. trace: as `request` takes it."""
        context = _PROPAGATOR.extract(trace)
        parent = get_current_span(context).get_span_context()
        trace_id = parent.trace_id if parent.is_valid else self._ids.generate_trace_id()
        sampled = self._provider.sampler.should_sample(context, trace_id, "request", SpanKind.SERVER).decision
        return BegunSpan(trace_id, self._ids.generate_span_id(), sampled == Decision.RECORD_AND_SAMPLE)

    def request(
        self,
        method: str,
        route: str,
        status: int,
        spent_s: float,
        *,
        trace: Mapping[str, str],
        stages_s: Mapping[str, float],
        about: Mapping[str, AttributeValue | None],
        begun: BegunSpan | None = None,
    ) -> None:
        """Records a request that was answered just now.

        Args:
            trace: its traceparent and tracestate.
            stages_s: seconds by stage (a key of NAMES), in their order.
            about: attributes by name, left out where None.
            begun: the ids it has, where it has begun before.
        """
        end_ns = time.time_ns()
        self._ids.begun = begun
        span = self._tracer.start_span(
            f"{method} {route}",
            context=_PROPAGATOR.extract(trace),
            kind=SpanKind.SERVER,
            start_time=end_ns - int(spent_s * 1e9),
            attributes={"http.request.method": method, "http.route": route, "url.scheme": "http"},
        )
        self._ids.begun = None
        if span.is_recording():
            span.set_attribute("http.response.status_code", status)
            for name, value in about.items():
                if value is not None:
                    span.set_attribute(name, value)
            if status >= 500:
                span.set_status(Status(StatusCode.ERROR))
                span.set_attribute("error.type", str(status))
            self._stages(span, stages_s, end_ns)
        span.end(end_ns)

    def _stages(self, span: Span, stages_s: Mapping[str, float], end_ns: int) -> None:
        stages = [(NAMES[name], int(length_s * 1e9)) for name, length_s in stages_s.items()]
        start_ns = end_ns - sum(length_ns for _, length_ns in stages)
        parent = set_span_in_context(span)
        for name, length_ns in stages:
            self._tracer.start_span(name, context=parent, start_time=start_ns).end(start_ns + length_ns)
            start_ns += length_ns

    def close(self) -> None:
        """Sends what is left, for at most CLOSE_S."""
        last = threading.Thread(target=self._provider.shutdown, name="last spans", daemon=True)
        last.start()
        last.join(CLOSE_S)
