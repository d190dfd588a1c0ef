"""What surrounds every request: a request id, auth, a catch-all for errors, metrics and the access log.

It is a plain ASGI wrapper, because a middleware built from request and response objects costs more than a search of a
small index. The id is the caller's `X-Request-Id` when it is safe to log and to send back, else a new one. A valid W3C
`traceparent` is echoed. Whatever an endpoint raises is answered as problem+json, so that no route has an error format
of its own. An unforeseen error is logged with its traceback and the id; the caller is shown only the id.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import re
import secrets
import time
from collections.abc import Callable

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from index.errors import GenerationError, StorageError
from service.access.auth import Auth
from service.errors import LoadError
from service.http.openai_errors import openai_error
from service.telemetry import logs, tracing
from service.telemetry.metrics import Metrics
from service.wire.limits import ClientGone
from service.wire.problems import MEDIA_TYPE, Problem

log = logging.getLogger("perwatt.service")

GONE = 499  # nginx's number for a caller that hung up; it is counted and never sent
ENDED = "The server ended before this was answered."
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
TRACEPARENT = re.compile(rb"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_NOSNIFF = (b"x-content-type-options", b"nosniff")


_process, _numbers = secrets.token_hex(4), itertools.count(secrets.randbits(24))


def request_id(given: bytes | None) -> bytes:
    """The caller's id when it is harmless to log and to send back, else a new one."""
    if given is not None and _REQUEST_ID.fullmatch(given):
        return given
    return b"%b%08x" % (_process.encode(), next(_numbers) & 0xFFFFFFFF)


class Envelope:
    """ASGI middleware; `scope["state"]["caller"]` is set for whatever lies inside.

    Args:
        ending: whether the server is about to end, and cancels what does not finish in time.
        openai: operations whose problems carry OpenAI's error too.
    """

    def __init__(
        self,
        app: ASGIApp,
        metrics: Metrics,
        auth: Auth,
        ending: Callable[[], bool],
        openai: frozenset[str] = frozenset(),
    ) -> None:
        self.app = app
        self.metrics = metrics
        self.auth = auth
        self.ending = ending
        self.openai = openai

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start_s = time.perf_counter()
        given = None
        extra = [_NOSNIFF]
        for name, value in scope["headers"]:
            if name == b"x-request-id":
                given = value
            elif name == b"traceparent" and TRACEPARENT.fullmatch(value):
                extra.append((name, value))
                if not tracing.PASSED_ON.get():  # else a span of ours is between
                    tracing.pass_on(value.decode())
        own_id = request_id(given)
        extra.append((b"x-request-id", own_id))
        status = sent = 0  # status 0 while nothing was sent

        async def send_with_headers(message: Message) -> None:
            nonlocal status, sent
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"].extend(extra)
            else:
                sent += len(message.get("body", b""))
            await send(message)

        method, path = scope["method"], scope["path"]
        verdict = self.auth.judge(scope)
        scope.setdefault("state", {}).update(caller=verdict.caller, request_id=own_id.decode())
        try:
            if verdict.refusal is not None:
                raise verdict.refusal
            await self.app(scope, receive, send_with_headers)
        except ClientGone:
            status = GONE
        except asyncio.CancelledError:
            if status or not self.ending():
                status = GONE  # the connection was lost, which cancels
            else:
                problem = Problem("not-ready", ENDED)
                await self._send_problem(problem, verdict.operation, own_id, send_with_headers)
        except Exception as error:
            problem = as_problem(error, own_id.decode())
            if status:  # the answer is under way: all that is left is to cut it off
                raise
            await self._send_problem(problem, verdict.operation, own_id, send_with_headers)
        finally:
            spent_s = time.perf_counter() - start_s
            self.metrics.count_request(verdict.operation, status, spent_s)
            if logs.wanted():
                logs.note(
                    *(verdict.operation, status, spent_s),
                    method=method,
                    path=path,
                    answer_bytes=0 if method == "HEAD" else sent,
                    request_id=own_id.decode(),
                    key=verdict.caller.name,
                )

    async def _send_problem(self, problem: Problem, operation: str, request_id: bytes, send: Send) -> None:
        if operation in self.openai or problem.status == 401:
            problem.members["error"] = openai_error(problem)
        body = problem.body(request_id.decode())
        headers = [
            (b"content-type", MEDIA_TYPE.encode()),
            (b"content-length", str(len(body)).encode()),
            *((name.encode(), value.encode()) for name, value in problem.headers.items()),
        ]
        await send({"type": "http.response.start", "status": problem.status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def as_problem(error: Exception, request_id: str) -> Problem:
    """The problem that stands for `error`; an unforeseen one is logged here, once."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, LoadError):
        return Problem(error.code, str(error))
    if isinstance(error, HTTPException) and error.status_code == 404:
        return Problem(
            "invalid-value",
            "There is nothing at this path; /openapi.json lists the paths there are.",
            status=404,
            title="No such path",
        )
    if isinstance(error, HTTPException) and error.status_code == 405:
        headers = {name.lower(): value for name, value in (error.headers or {}).items()}
        return Problem(
            "invalid-value",
            f"This path takes {headers.get('allow', 'another method')} only.",
            status=405,
            title="No such method at this path",
            headers=headers,
        )
    if isinstance(error, MemoryError):
        return Problem("insufficient-memory", "There was not enough memory to answer this request.")
    if isinstance(error, GenerationError | StorageError):  # rows that are read from the disk when they are asked for
        log.error("request %s was not answered: %s", request_id, error)
        return Problem(
            "internal",
            "A file of the index could not be read. The log has its name and the reason under the id of this request; "
            "`perwatt verify` checks all files, and a rollback serves the generation before.",
        )
    log.error("request %s failed", request_id, exc_info=error)
    return Problem(
        "internal",
        "The server failed in a way nobody foresaw. Its log has the reason under the id of this request.",
    )
