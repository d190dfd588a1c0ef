"""One connection to a caller: how long it may take, and how it ends.

**Time.** uvicorn waits without limit for the rest of a head or a body, so a few bytes a minute can hold a connection
open (slowloris). Here a head has `--client-timeout` from its first byte. A body has as long, and then a least rate. An
answer must keep being read, and an idle connection is closed in the end. A `Watch` looks once a second (`watch.py`).

**Number.** Beyond `--connections`, the connection that has been idle longest is closed to make room, as nginx does. So
a caller who fills the table with idle connections loses those, and others lose none.

**The end.** Bytes that are refused before they are a request are answered with a problem object like everything else,
after the answers to earlier requests. Then the server reads and discards what the caller is still sending for a while:
closing a connection with unread bytes resets it, and the answer would be lost.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Sized
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from service.http.watch import Watch
from service.wire.limits import DRAIN_BYTES, DRAIN_S
from service.wire.problems import MEDIA_TYPE, Problem

BODY_BYTES_PER_S = 16 << 10  # on average since the head, once the patience is over: slower than any line that is in use
IDLE_S = 75.0  # above the 60 s after which common load balancers drop an idle connection, so that they do it first


class Flow(FlowControl):
    """uvicorn reads on whenever a request asks for its body, even while others that were sent ahead wait: a caller who
    never takes an answer could have it keep any number of them. Here nothing is read while there are any."""

    def __init__(self, transport: asyncio.Transport, pipeline: Sized) -> None:
        super().__init__(transport)
        self._pipeline = pipeline
        self.held = False  # nothing is read, even when reading is resumed

    def resume_reading(self) -> None:
        if not self._pipeline and not self.write_paused and not self.held:
            super().resume_reading()


class Connection(HttpToolsProtocol):
    """What uvicorn's protocol does not do for a connection; `protocol.py` adds the requests. `watch` and `refused` are
    set by a subclass that belongs to one server.

    receiving: "head", "body", or nothing between two requests; "upgrade" between a head and the same without its offer
    to upgrade; "rest" when nothing more is read as a request.

    Args:
        refused: told of every answer to what was no request, with the bytes of its body, its id and the seconds it
            took.
    """

    watch: Watch
    refused: Callable[[Problem, int, str, float], None]
    flow: Flow
    cycle: Any  # None, uvicorn's cycle of a request, or a request in the fast path

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.since_s = 0.0  # when the present state began
        self.receiving = ""
        self.received = 0  # bytes of it
        self.descriptor = -1  # of the socket, while it is parked
        self._unsent = 0  # bytes of answers that were not taken when we last looked
        self._stuck_s = 0.0  # since when that has not become less
        self._task: asyncio.Task[None] | None = None
        self._farewell: Problem | None = None  # the last answer, while those before it are made

    @property
    def idle(self) -> bool:
        return not self.receiving and (self.cycle is None or self.cycle.response_complete)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.flow = Flow(transport, self.pipeline)
        self.since_s = self._stuck_s = time.monotonic()
        self.watch.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.watch.ended(self)
        unanswered = self.cycle is not None and not self.cycle.response_complete
        super().connection_lost(exc)
        if unanswered and self._task is not None:
            self._task.cancel()  # nobody waits for the answer any more

    def look(self, now_s: float) -> None:
        """Once a second: is this connection still worth keeping?"""
        patience_s = self.watch.patience_s
        unsent = self.transport.get_write_buffer_size()
        if not unsent or unsent < self._unsent:
            self._stuck_s = now_s
        elif now_s - self._stuck_s > 2 * patience_s:
            self._drop()
            return
        self._unsent = unsent
        spent_s = now_s - self.since_s
        if self.receiving == "head":
            if spent_s > patience_s:
                self._too_slow("head")
        elif self.receiving == "body":
            if not self.flow.read_paused and spent_s > patience_s + self.received / BODY_BYTES_PER_S:
                if self.cycle.response_complete:
                    self.transport.close()
                else:
                    self._too_slow("body")
        elif self.receiving == "rest":
            if self._farewell is None and spent_s > DRAIN_S:
                self.transport.close()
        elif self.idle and not unsent and spent_s > (patience_s if self.cycle is None else IDLE_S):  # never asked; idle
            self.transport.close()

    def _too_slow(self, what: str) -> None:
        self.watch.timed_out()
        detail = f"The {what} of the request did not arrive in time; send it at once, or on a better line."
        self.end(Problem("deadline-exceeded", detail, status=408, title="The request came too slowly"))

    def _drop(self) -> None:
        self.watch.timed_out()
        self.transport.abort()

    def pause_writing(self) -> None:
        super().pause_writing()
        self.flow.pause_reading()  # who does not take answers need not ask more

    def resume_writing(self) -> None:
        super().resume_writing()
        self.flow.resume_reading()

    # --- the end ----------------------------------------------------------------------------------------------------

    def end(self, problem: Problem) -> None:
        """Answers what is being received with `problem`, after all that was asked before, and reads no more
        requests."""
        own = self.receiving == "body"  # the last of those that have begun, else it has no cycle yet
        self.receiving = "rest"
        cycle = self.cycle
        if self.transport.is_closing():
            return
        if cycle is None or cycle.response_complete:
            if own:  # it has its answer
                self._linger()
            else:
                self._say(problem)
        elif own and not self.pipeline:
            if getattr(cycle, "response_started", False):
                self.transport.abort()
                return
            cycle.disconnected = True
            cycle.message_event.set()
            if self._task is not None:
                self._task.cancel()
            self._say(problem)
        else:
            if own:
                self.pipeline.popleft()
            self._farewell = problem
            self.flow.pause_reading()
            self.flow.held = True

    def _say(self, problem: Problem) -> None:
        self._farewell, self.flow.held = None, False
        request_id = secrets.token_hex(8)
        body = problem.body(request_id)
        self.refused(problem, len(body), request_id, time.monotonic() - self.since_s)
        lines = [
            *self.server_state.default_headers,
            (b"content-type", MEDIA_TYPE.encode()),
            *((name.encode(), value.encode()) for name, value in problem.headers.items()),
            (b"content-length", b"%d" % len(body)),
            (b"x-content-type-options", b"nosniff"),
            (b"x-request-id", request_id.encode()),
            (b"connection", b"close"),
        ]
        self.transport.write(
            b"".join([STATUS_LINE[problem.status], *(b"%b: %b\r\n" % line for line in lines), b"\r\n", body])
        )
        self._linger()

    def _linger(self) -> None:
        """Ends our side, and reads and discards the caller's for a while: a connection that is closed with
        bytes unread is reset, and the answer lost with it."""
        self.receiving, self.received, self.since_s = "rest", 0, time.monotonic()
        self.transport.write_eof()
        self.flow.resume_reading()

    def read_past(self, count: int) -> None:
        """Counts bytes that are read and discarded."""
        self.received += count
        if self.received > DRAIN_BYTES:
            self.transport.abort()
