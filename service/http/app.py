"""The application: a FastAPI app with our routes, our errors and our documentation.

It uses FastAPI for the application, its life cycle and its place in an ecosystem that knows how to mount, test and
observe one. The parts that would do work a second time on every request are left out (see `routes.py`).
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from embed.vectors.provenance import own_version
from service.access.auth import Auth
from service.http.api import schema
from service.http.api.routed import ROUTED
from service.http.api.routes import OPENAI, OPERATIONS
from service.http.api.starlette_routes import routes
from service.http.envelope import Envelope
from service.query.app_state import AppState

if TYPE_CHECKING:
    from service.telemetry.spans import Spans


def create_app(
    state: AppState, auth: Auth, spans: Spans | None = None, ready: Callable[[], bool] = lambda: True
) -> FastAPI:
    """The application for what is loaded; it closes that when the server ends.

    Args:
        spans: None where nothing is traced.
        ready: whether requests should be sent here; no longer once the server is on its way out.
    """

    operations = ROUTED if state.here is None else OPERATIONS

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        state.registry.start()
        yield
        state.close()
        if spans is not None:
            spans.close()

    app = FastAPI(
        title="perwatt",
        version=own_version(),
        openapi_url=None,  # our own document; and no page of /docs, which would load scripts from another host
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        telemetry={
            "tracing": False,
            "metrics": False,
            "logs": False,
            "auto_configure": False,
        },  # ours: telemetry/spans.py
        lifespan=lifespan,
        routes=list(routes(operations)),
        exception_handlers={HTTPException: _pass_on},
    )
    app.state.query = state
    app.state.ready = ready
    app.state.measuring = asyncio.Lock()
    app.add_middleware(Envelope, metrics=state.metrics, auth=auth, ending=lambda: not ready(), openai=OPENAI)
    if spans is not None:
        from service.http.traced import Traced

        app.add_middleware(Traced, spans=spans, routes=state.here is None)

    @functools.cache
    def openapi() -> dict[str, Any]:
        """Made when it is first asked for: that takes a sixth of a start, and few servers are asked."""
        return schema.document(
            app.version,
            state.encoder.fingerprint if state.encoder else None,
            keys=auth.keyring is not None,
            operations=operations,
            reranker=state.reranking.name if state.reranking else None,
        )

    app.openapi = openapi  # type: ignore[method-assign]  # as FastAPI documents for an own schema
    return app


async def _pass_on(_request: Request, error: Exception) -> Response:
    """Lets the envelope answer a 404 or 405 of the router: all problems are made in one place."""
    raise error
