"""Spans of the API's requests and of the stages of a search, for OpenTelemetry (the extra `perwatt[otel]`).

    POST /v1/indexes/{index}/search           server span, child of the caller's traceparent
    ├── filter                                where there is one
    ├── encode
    ├── search
    ├── lexical                               where words are searched
    └── fetch                                 payloads

They are made when the answer is on its way, out of what the caller was told: Server-Timing has the stages, the body has
what it cost. So the path of a request knows nothing of tracing, and there is no second set of clocks that could
disagree with the first. (FastAPI's own telemetry, which is off, would see only what takes the general way, and hardly a
search does.) The lengths of stages are exact; they are laid end to end up to the end of the request, which
is where they were within some tens of microseconds, and what is before them is reading, decoding and waiting for a
place.

Of a request there is its route, status, index and id, the name of its key, and of its answer the generation and the
cost: nothing of the query, the filter, the hits or the ids of documents. Only what reached an endpoint is traced, so
strangers without a key make no spans. Sampling (OTEL_TRACES_SAMPLER), batching (OTEL_BSP_…), the endpoint and the
resource are read from the environment by the SDK.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue

from service import versions

if TYPE_CHECKING:
    pass

NAMES = {"filter": "filter", "embed": "encode", "ann": "search", "lexical": "lexical", "payload": "fetch"}
CLOSE_S = 3.0  # for the last spans, when the collector does not answer: nobody's restart waits longer

_STAGE = re.compile(r"(\w+);dur=([\d.]+)")
_PROPAGATOR = TraceContextTextMapPropagator()


class _ToldUsage(msgspec.Struct):
    tokens: int = 0
    vectors_scored: int = 0
    cpu_ms: float = 0.0


class _Told(msgspec.Struct):
    """What a span says of an answer; the rest of it is skipped."""

    generation: str | None = None
    usage: _ToldUsage | None = None


_TOLD = msgspec.json.Decoder(_Told)


class Spans:
    """Owns the provider of a process; made after the fork in a worker, because it has a thread."""

    def __init__(self) -> None:
        own: dict[str, AttributeValue] = {"service.version": versions.own(), "process.pid": os.getpid()}
        if not os.environ.get("OTEL_SERVICE_NAME") and "service.name" not in os.environ.get(
            "OTEL_RESOURCE_ATTRIBUTES", ""
        ):
            own["service.name"] = "perwatt"
        self._provider = TracerProvider(resource=Resource.create(own), shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("perwatt.service", versions.own())

    def request(
        self,
        method: str,
        route: str,
        status: int,
        spent_s: float,
        *,
        trace: Mapping[str, str],
        timing: str = "",
        content: bytes = b"",
        about: Mapping[str, str | None],
    ) -> None:
        """A request that was answered just now. trace: its traceparent and tracestate. timing: its Server-Timing.
        about: attributes by name, left out where None."""
        end_ns = time.time_ns()
        span = self._tracer.start_span(
            f"{method} {route}",
            context=_PROPAGATOR.extract(trace),
            kind=SpanKind.SERVER,
            start_time=end_ns - int(spent_s * 1e9),
            attributes={"http.request.method": method, "http.route": route, "url.scheme": "http"},
        )
        if span.is_recording():
            span.set_attribute("http.response.status_code", status)
            for name, value in about.items():
                if value is not None:
                    span.set_attribute(name, value)
            if status >= 500:
                span.set_status(Status(StatusCode.ERROR))
                span.set_attribute("error.type", str(status))
            if content and status == 200:
                self._tell(span, content)
            self._stages(span, timing, end_ns)
        span.end(end_ns)

    def _tell(self, span: Any, content: bytes) -> None:
        told = _TOLD.decode(content)
        if told.generation is not None:
            span.set_attribute("perwatt.generation", told.generation)
        if told.usage is not None:
            for name in told.usage.__struct_fields__:
                span.set_attribute(f"perwatt.{name}", getattr(told.usage, name))

    def _stages(self, span: Any, timing: str, end_ns: int) -> None:
        stages = [(NAMES.get(name, name), int(float(ms) * 1e6)) for name, ms in _STAGE.findall(timing)]
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
