"""The fast path: a search from bytes to bytes, without what a general application costs.

A search by vector takes a fraction of a millisecond. The general way (scope, task, event, middleware, router, request
and response objects, two sends with every header checked) costs as much again. So the protocol hands a plain
`POST …/search` to this fast path: JSON, a declared length, no unusual headers. Everything else takes the general way,
and so does any search that this path does not recognise as plain. Both call the same function, and a test compares
their answers byte by byte.

Two things make it cheap. The coroutine of a search that never waits is run by hand to its end, and one that waits for
shards is resumed by hand (`resumed.py`); only one that waits for anything else (the encoder, a place) becomes a task.
And requests that arrive in one turn of the event loop are first all read and then worked on, a millisecond at a time,
which makes the waiting line visible. Otherwise, under overload, it would form in the buffers of the kernel, where no
request can be refused. Here a request beyond the bound is answered 503 for the price of its head, or less
(`refusal.py`).
"""

from __future__ import annotations

import asyncio
import functools
import re
import time
from collections import deque
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Protocol

from service.access.auth import Auth
from service.access.caller import Caller
from service.http import envelope
from service.http.refusal import Refusals, Refused
from service.http.resumed import Resumed, Suspended
from service.query import search
from service.query.search import Answered
from service.routing import part
from service.routing.together import Turn
from service.telemetry import logs, tracing
from service.wire import limits
from service.wire.limits import ClientGone
from service.wire.problems import MEDIA_TYPE, Problem

if TYPE_CHECKING:
    from service.query.app_state import AppState
    from service.telemetry.spans import BegunSpan

PATH = re.compile(rb"/v1/indexes/([a-z0-9][A-Za-z0-9_-]{0,127})/(search|part)")
ANSWERS = {"search": search.answer, "part": part.answer}
ODD = (b"content-encoding", b"transfer-encoding", b"expect")
SLICE_S = 1e-3  # of work before the loop looks at its sockets again: as long as a few searches


class FastConnection(Protocol):
    """What the fast path needs of the connection that a request came by (`protocol.py`)."""

    loop: asyncio.AbstractEventLoop
    tasks: set[Any]
    headers: list[tuple[bytes, bytes]]
    since_s: float

    def send_fast(self, status: int, head: bytes, content: bytes, keep_alive: bool) -> None: ...


class FastRequest:
    """One request in the fast path; to uvicorn's protocol it looks like the cycle of any other request."""

    __slots__ = (
        *("begun", "body", "caller", "disconnected", "heads", "index", "keep_alive", "message_event", "operation"),
        *("protocol", "response_complete", "start_s", "task"),
    )

    def __init__(
        self,
        protocol: FastConnection,
        heads: dict[bytes, bytes],
        index: str,
        operation: str,
        caller: Caller,
        keep_alive: bool,
    ) -> None:
        self.protocol = protocol
        self.operation = operation
        self.heads = heads
        self.index = index
        self.caller = caller
        self.keep_alive = keep_alive
        self.body: list[bytes] = []
        self.start_s = 0.0
        self.task: asyncio.Task[None] | Suspended | None = None
        self.disconnected = False
        self.response_complete = False
        self.begun: BegunSpan | None = None  # its span, where others are to be children of it
        self.message_event = self  # uvicorn sets it when the connection is lost

    def set(self) -> None:
        if self.disconnected and self.task is not None:
            self.task.cancel()


class FastPath:
    """Belongs to one event loop.

    Args:
        queue: how many requests may wait for their turn.
        traced: every request leaves a span.
    """

    def __init__(self, state: AppState, auth: Auth, queue: int, traced: bool = False) -> None:
        self._state, self._auth = state, auth
        self.refusals = Refusals(state, auth.keyring is None, traced)
        self._queue: deque[FastRequest] = deque()
        self._bound = queue
        self._scheduled = False
        self._routes = state.here is None  # requests go on to other servers

    @property
    def waiting(self) -> int:
        return len(self._queue)

    @property
    def full(self) -> bool:
        """Whether a request that comes now is refused."""
        return len(self._queue) >= self._bound or self._state.admission.full

    def candidate(self, protocol: FastConnection, url: bytes, keep_alive: bool) -> FastRequest | Refused | None:
        """The request whose head was just read, if it is one for the fast path and may come in; None: the general
        way."""
        path = PATH.fullmatch(url)
        if path is None or (path[2] == b"part" and self._state.here is None):
            return None
        heads = dict(protocol.headers)
        length = heads.get(b"content-length")
        if length is None or heads.get(b"content-type") != b"application/json" or not heads.keys().isdisjoint(ODD):
            return None
        if int(length) > limits.BODY_BYTES:
            return None
        index, operation = path[1].decode(), path[2].decode()
        caller = self._auth.searcher(index, protocol.headers)
        if caller is None:
            return None  # refused; the general way comes to the same end and says why
        if self.full and self.refusals.cheap:
            return Refused(heads, keep_alive, protocol.since_s)
        return FastRequest(protocol, heads, index, operation, caller, keep_alive)

    def refusal(self, refused: Refused | None, defaults: list[tuple[bytes, bytes]], spent_s: float) -> bytes:
        """The answer to a request that was refused by its head; None: by its bytes."""
        return self.refusals.answer(self._ahead(), defaults, refused, spent_s)

    def _ahead(self) -> int:
        return max(len(self._queue), self._state.admission.waiting)

    def enter(self, request: FastRequest) -> None:
        """The body is complete."""
        request.start_s = time.perf_counter()
        if self.full:
            self._refuse(request, self._state.admission.overloaded(self._ahead()))
            return
        self._queue.append(request)
        if not self._scheduled:
            self._scheduled = True
            request.protocol.loop.call_soon(self._work)

    def _work(self) -> None:
        end_s = time.perf_counter() + SLICE_S
        queue = self._queue
        while queue:
            self._start(queue.popleft())
            if time.perf_counter() > end_s:
                break
        if queue:
            self._loop().call_soon(self._work)
        else:
            self._scheduled = False

    def _loop(self) -> asyncio.AbstractEventLoop:
        return self._queue[0].protocol.loop

    def _start(self, request: FastRequest) -> None:
        if request.disconnected:
            self._state.metrics.count_request(request.operation, envelope.GONE, time.perf_counter() - request.start_s)
            return
        body = request.body[0] if len(request.body) == 1 else b"".join(request.body)
        if self._routes:
            self._pass_on(request)
        work = ANSWERS[request.operation](self._state, request.caller, request.index, body, request.start_s)
        self._run(request, work, None)

    def _run(self, request: FastRequest, work: Coroutine[Any, Any, Answered], thrown: BaseException | None) -> None:
        """Runs a search until it ends or waits."""
        try:
            future = work.send(None) if thrown is None else work.throw(thrown)
        except StopIteration as done:
            self._answer(request, done.value)
        except asyncio.CancelledError:
            self._fail(request, ClientGone() if request.disconnected else Problem("not-ready", envelope.ENDED))
        except Exception as error:
            self._fail(request, error)
        else:
            tasks = request.protocol.tasks
            if isinstance(future, Turn):
                request.task = Suspended(future, functools.partial(self._run, request, work), tasks)
                return
            request.task = task = request.protocol.loop.create_task(self._finish(request, Resumed(work, future)))
            tasks.add(task)  # what a graceful end waits for; the loop keeps only a weak reference
            task.add_done_callback(tasks.discard)

    def _pass_on(self, request: FastRequest) -> None:
        trace = request.heads.get(b"traceparent")
        tracing.pass_on(trace.decode() if trace is not None and envelope.TRACEPARENT.fullmatch(trace) else "")

    async def _finish(self, request: FastRequest, work: Resumed) -> None:
        try:
            answered = await work
        except asyncio.CancelledError:
            if not request.disconnected:
                self._fail(request, Problem("not-ready", envelope.ENDED))
                raise
            self._fail(request, ClientGone())
        except Exception as error:
            self._fail(request, error)
        else:
            self._answer(request, answered)

    def _answer(self, request: FastRequest, answered: Answered) -> None:
        headers = f"content-type: application/json\r\nserver-timing: {answered.stages.server_timing()}\r\n"
        self._send(request, 200, headers, answered.content, answered)

    def _fail(self, request: FastRequest, error: Exception) -> None:
        if isinstance(error, ClientGone) or request.disconnected:
            self._state.metrics.count_request(request.operation, envelope.GONE, time.perf_counter() - request.start_s)
            return
        self._refuse(request, error)

    def _refuse(self, request: FastRequest, error: Exception) -> None:
        request_id = envelope.request_id(request.heads.get(b"x-request-id"))
        request.heads[b"x-request-id"] = request_id
        problem = envelope.as_problem(error, request_id.decode())
        headers = "".join(f"{name}: {value}\r\n" for name, value in problem.headers.items())
        body = problem.body(request_id.decode())
        self._send(request, problem.status, f"content-type: {MEDIA_TYPE}\r\n{headers}", body)

    def _send(
        self, request: FastRequest, status: int, headers: str, content: bytes, answered: Answered | None = None
    ) -> None:
        """answered: what `content` was made of; None for a problem."""
        self._state.metrics.count_request(request.operation, status, time.perf_counter() - request.start_s)
        if request.disconnected:
            return
        heads = request.heads
        trace = heads.get(b"traceparent")
        more = (
            f"traceparent: {trace.decode()}\r\n" if trace is not None and envelope.TRACEPARENT.fullmatch(trace) else ""
        )
        if not request.keep_alive:
            more += "connection: close\r\n"
        heads[b"x-request-id"] = request_id = envelope.request_id(heads.get(b"x-request-id"))
        head = (
            f"{headers}x-content-type-options: nosniff\r\nx-request-id: {request_id.decode()}\r\n{more}"
            f"content-length: {len(content)}\r\n\r\n"
        )
        request.response_complete = True
        if logs.wanted():
            body, spent_s = b"".join(request.body), time.perf_counter() - request.start_s
            logs.note(
                *(request.operation, status, spent_s),
                method="POST",
                path=f"/v1/indexes/{request.index}/{request.operation}",
                answer_bytes=len(content),
                request_id=request_id.decode(),
                key=request.caller.name,
                body=body,
            )
        request.protocol.send_fast(status, head.encode("latin-1"), content, request.keep_alive)
