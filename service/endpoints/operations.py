"""Operations: liveness, readiness, metrics, versions and the API document.

`/livez` says only that the event loop turns, so that a process is never restarted for a reason that a restart does not
cure. `/readyz` says whether requests should be sent here, which ends when the server begins to shut down. A generation
that was refused at a reload does not make the server unready, since the old one still answers; it is named in the
detail, for callers who may see it.
"""

from __future__ import annotations

import asyncio
import platform

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from embed.vectors.provenance import installed, own_version
from index import kernels
from service import versions
from service.access.caller import NOBODY, caller_of
from service.endpoints.usage import UsageCollector
from service.query.app_state import state_of
from service.wire import limits
from service.wire.problems import Problem


async def livez(request: Request) -> Response:
    return _json({"status": "alive"})


async def readyz(request: Request) -> Response:
    state = state_of(request)
    if not request.app.state.ready():
        raise Problem("not-ready", "The server is finishing its last requests and will end.")
    if state.registry.missing is not None:
        raise Problem("not-ready", f"Not all shards have a replica that answers: {state.registry.missing}.")
    caller = caller_of(request.scope)
    if caller is NOBODY:
        return _json({"status": "ready"})
    indexes = {
        name: {
            "generation": loaded.id,
            "refused": state.registry.failures.get(name),
        }
        for name, loaded in state.registry.all().items()
        if caller.may_see(name)
    }
    return _json({"status": "ready", "indexes": indexes})


async def metrics(request: Request) -> Response:
    state, caller = state_of(request), caller_of(request.scope)
    text = state.metrics.text(caller.may_see, UsageCollector(state, caller))
    return Response(text, headers={"content-type": "text/plain; version=0.0.4; charset=utf-8"})


async def version(request: Request) -> Response:
    state = state_of(request)
    encoder = state.encoder
    return _json(
        {
            "perwatt": own_version(),
            "python": platform.python_version(),
            "packages": {name: installed(name) for name in versions.PACKAGES},
            "kernels": kernels.info(),
            "model": None if encoder is None else encoder.fingerprint.as_dict(),
            "reranker": None if state.reranking is None else state.reranking.name,
            "limits": limits.as_dict(),
        }
    )


async def openapi(request: Request) -> Response:
    return _json(await asyncio.to_thread(request.app.openapi))  # searches need not wait while it is made


def _json(content: object) -> Response:
    return Response(
        msgspec.json.encode(content),
        headers={"cache-control": "no-store"},
        media_type="application/json",
    )
