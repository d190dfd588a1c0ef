"""Spans of the requests of a traced server: of those that take the fast path, and of all others."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.access.auth import Auth
from service.access.caller import Caller, caller_of
from service.http.api.routed import ROUTED
from service.http.api.routes import OPERATIONS
from service.http.fast_path import FastPath, FastRequest
from service.query.search import Answered
from service.telemetry import tracing
from service.telemetry.spans import BegunSpan, Spans

if TYPE_CHECKING:
    from service.query.app_state import AppState


INDEX = "/v1/indexes/{index}/"

_ROUTES = {
    operation.endpoint: operation.path for operation in (*OPERATIONS, *ROUTED) if operation.path.startswith("/v1/")
}


class TracedFastPath(FastPath):
    """The fast path of a server that is traced."""

    def __init__(self, state: AppState, auth: Auth, queue: int, spans: Spans) -> None:
        super().__init__(state, auth, queue, traced=True)
        self._spans = spans

    def _pass_on(self, request: FastRequest) -> None:
        request.begun = self._spans.begin(_trace_of(request.heads))
        tracing.pass_on(request.begun.traceparent)

    def _send(
        self, request: FastRequest, status: int, headers: str, content: bytes, answered: Answered | None = None
    ) -> None:
        super()._send(request, status, headers, content, answered)
        spent_s, heads = time.perf_counter() - request.start_s, request.heads
        request_id = heads.get(b"x-request-id", b"").decode("latin-1")
        about = (request.index, request.caller, request_id, request.begun)
        _record(self._spans, "POST", INDEX + request.operation, status, spent_s, heads, answered, *about)


class Traced:
    """ASGI middleware around everything else: what takes the general way."""

    def __init__(self, app: ASGIApp, spans: Spans, routes: bool = False) -> None:
        """routes: requests are passed on to other servers, and so are their traces."""
        self.app = app
        self.spans = spans
        self.routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start_s = time.perf_counter()
        status = 0  # while nothing was sent
        begun = self.spans.begin(_trace_of(dict(scope["headers"]))) if self.routes else None
        if begun is not None:
            tracing.pass_on(begun.traceparent)

        async def looking_on(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, looking_on)
        finally:
            route = _ROUTES.get(scope.get("endpoint"))  # type: ignore[arg-type]
            if route is not None and status:
                spent_s, state, parameters = time.perf_counter() - start_s, scope["state"], scope["path_params"]
                index = parameters.get("index") or parameters.get("alias")
                about = (state.get("answered"), index, caller_of(scope), state["request_id"], begun)
                _record(self.spans, scope["method"], route, status, spent_s, dict(scope["headers"]), *about)


def _record(
    spans: Spans,
    method: str,
    route: str,
    status: int,
    spent_s: float,
    headers: Mapping[bytes, bytes],
    answered: Answered | None,
    index: str | None,
    caller: Caller,
    request_id: str,
    begun: BegunSpan | None,
) -> None:
    usage = None if answered is None else answered.usage
    spans.request(
        method,
        route,
        status,
        spent_s,
        trace=_trace_of(headers),
        stages_s={} if answered is None else answered.stages.there_were(),
        about={
            "perwatt.index": index,
            "perwatt.key": caller.name,
            "perwatt.request_id": request_id or None,
            "perwatt.generation": None if answered is None else answered.generation,
            "perwatt.tokens": None if usage is None else usage.tokens,
            "perwatt.vectors_scored": None if usage is None else usage.vectors_scored,
            "perwatt.cached": None if usage is None else usage.cached,
            "perwatt.cpu_ms": None if usage is None else usage.cpu_ms,
        },
        begun=begun,
    )


def _trace_of(headers: Mapping[bytes, bytes]) -> dict[str, str]:
    return {
        name.decode(): headers[name].decode("latin-1") for name in (b"traceparent", b"tracestate") if name in headers
    }
