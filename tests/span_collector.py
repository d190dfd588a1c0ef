"""A collector of spans over HTTP, for servers that are traced."""

from __future__ import annotations

import gzip
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from patience import patient

LIMIT_S = patient(30)


class Collector:
    """Takes what an exporter sends to /v1/traces, as a collector does."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.resources: list[dict[str, Any]] = []
        self.spans: list[Span] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                assert self.path == "/v1/traces"
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                collector.take(body)
                self.send_response(200)
                self.send_header("content-type", "application/x-protobuf")
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def take(self, body: bytes) -> None:
        request = ExportTraceServiceRequest.FromString(body)
        self.bodies.append(body)
        for resource in request.resource_spans:
            self.resources.append(attributes(resource.resource))
            for scope in resource.scope_spans:
                self.spans += scope.spans

    def environment(self) -> dict[str, str]:
        return {"OTEL_EXPORTER_OTLP_ENDPOINT": self.url, "OTEL_BSP_SCHEDULE_DELAY": "50"}

    def of_request(self, request_id: str) -> tuple[Span, list[Span]]:
        """The span of a request and those under it, once they have come."""
        limit_s = time.monotonic() + LIMIT_S
        while True:
            for span in list(self.spans):
                if attributes(span).get("perwatt.request_id") == request_id:
                    return span, [one for one in list(self.spans) if one.parent_span_id == span.span_id]
            assert time.monotonic() < limit_s, f"no span of {request_id} came"
            time.sleep(0.02)

    def children(self, span: Span, name: str) -> list[Span]:
        """Those of a name, once there is one."""
        limit_s = time.monotonic() + LIMIT_S
        while True:
            found = [one for one in list(self.spans) if one.name == name and one.parent_span_id == span.span_id]
            if found:
                return found
            assert time.monotonic() < limit_s, f"no {name} came under {span.name}"
            time.sleep(0.02)


def attributes(of: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in of.attributes}
