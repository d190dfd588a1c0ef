"""Spans of the requests of a traced server: of those that take the fast path, and of all others."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.access.auth import Auth
from service.access.caller import caller_of
from service.http.fast_path import FastPath, FastRequest
from service.http.routes import OPERATIONS
from service.telemetry.spans import Spans

if TYPE_CHECKING:
    from service.query.app_state import AppState


SEARCH = "/v1/indexes/{index}/search"


_TIMING = re.compile(r"server-timing: ([^\r]*)\r\n")


_ROUTES = {operation.endpoint: operation.path for operation in OPERATIONS if operation.path.startswith("/v1/")}


class TracedFastPath(FastPath):
    """The fast path of a server that is traced."""

    def __init__(self, state: AppState, auth: Auth, queue: int, spans: Spans) -> None:
        super().__init__(state, auth, queue, traced=True)
        self._spans = spans

    def _send(self, request: FastRequest, status: int, headers: str, content: bytes) -> None:
        super()._send(request, status, headers, content)
        found = _TIMING.search(headers)
        self._spans.request(
            "POST",
            SEARCH,
            status,
            time.perf_counter() - request.start_s,
            trace=_trace(request.heads),
            timing=found[1] if found else "",
            content=content,
            about={
                "perwatt.index": request.index,
                "perwatt.key": request.caller.name,
                "perwatt.request_id": request.heads.get(b"x-request-id", b"").decode("latin-1") or None,
            },
        )


class Traced:
    """ASGI middleware around everything else: what takes the general way."""

    def __init__(self, app: ASGIApp, spans: Spans) -> None:
        self.app = app
        self.spans = spans

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start_s = time.perf_counter()
        started: Message = {}
        content = b""

        async def looking_on(message: Message) -> None:
            nonlocal started, content
            if message["type"] == "http.response.start":
                started = message
            else:
                content = message.get("body", b"")
            await send(message)

        try:
            await self.app(scope, receive, looking_on)
        finally:
            route = _ROUTES.get(scope.get("endpoint"))  # type: ignore[arg-type]
            if route is not None and started:
                given, headers = dict(scope["headers"]), dict(started["headers"])
                parameters = scope.get("path_params", {})
                self.spans.request(
                    scope["method"],
                    route,
                    started["status"],
                    time.perf_counter() - start_s,
                    trace=_trace(given),
                    timing=headers.get(b"server-timing", b"").decode("latin-1"),
                    content=content if b"server-timing" in headers else b"",
                    about={
                        "perwatt.index": parameters.get("index") or parameters.get("alias"),
                        "perwatt.key": caller_of(scope).name,
                        "perwatt.request_id": headers.get(b"x-request-id", b"").decode("latin-1") or None,
                    },
                )


def _trace(headers: Mapping[bytes, bytes]) -> dict[str, str]:
    """What the propagator reads; it takes nothing from a traceparent that is none."""
    return {
        name.decode(): headers[name].decode("latin-1") for name in (b"traceparent", b"tracestate") if name in headers
    }
