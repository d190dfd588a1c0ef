"""The HTTP protocol of uvicorn, hardened and shortened.

**Time.** uvicorn waits for ever for the rest of a head or a body, so that a few bytes a minute hold a connection for as
long as its owner likes (slowloris). Here a head has `HEAD_S` from its first byte, a body `BODY_S` and then a least
rate, an answer must keep being taken, and a connection that asks nothing is closed. No timer runs for any of it: a
`Watch` looks at all connections once a second, which costs less than starting and cancelling a timer a request. Ten
thousand idle connections cost some ten milliseconds a second, and no request waits for all of them: many connections
are looked at in slices, and those whose time is over are closed a few at a time.

**Number.** Beyond `connections` the one that has been idle longest is closed to make room, as nginx does: whoever fills
the table with idle connections loses them, and not the others.

**Speed.** A plain search goes to the express lane (`lane.py`) as soon as its body is complete; where the line is full
it is refused from its head (`refusal.py`).

Bytes that are no HTTP request, and requests that came too slowly, are answered with a problem object like everything
else.
"""

from __future__ import annotations

import asyncio
import heapq
import secrets
import time
from collections.abc import Callable, Sized
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from service.lane import Express, Lane
from service.problems import MEDIA_TYPE, Problem
from service.refusal import LAST, Refused

HEAD_BYTES = 32 << 10
BODY_BYTES_PER_S = 16 << 10  # on average since the head, once the patience is over: slower than any line that is in use
IDLE_S = 75.0  # above the 60 s after which common load balancers drop an idle connection, so that they do it first
SWEEP_S = 1.0
SLICE = 200  # connections that are looked at in one go; about a microsecond each
CLOSED = 20  # … and closed in one go; up to a tenth of a millisecond each
PAUSE_S = 0.02  # between goes when there are more to close


class Watch:
    """Looks at every connection once a second; belongs to one event loop."""

    def __init__(
        self,
        connections: int,
        patience_s: float,
        timed_out: Callable[[], None],
        closed: Callable[[], None] | None = None,
    ) -> None:
        """connections: how many may be open. patience_s: with a head, with the start of a body, and, twice, with an
        answer
        of which nothing is taken. timed_out: called for every one that was too slow; closed: for every one
        that ends."""
        self.bound = connections
        self.patience_s = patience_s
        self.timed_out = timed_out
        self.closed = closed
        self.open: dict[Protocol, None] = {}  # in the order in which they were opened
        self._round: list[Protocol] = []  # those that are still to be looked at in this round, the last one first
        self._pace_s = SWEEP_S  # from one go to the next in this round
        self._longest_idle: list[tuple[float, Protocol]] = []  # with since when, the longest last; some may have asked

    def start(self) -> None:
        asyncio.get_running_loop().call_later(SWEEP_S, self._sweep)

    def make_room(self) -> None:
        """Closes the connection that has been idle longest, when there are too many."""
        if len(self.open) <= self.bound:
            return
        if not self._end_longest_idle():
            idle = ((one.since_s, one) for one in self.open if one.idle and not one.transport.is_closing())
            self._longest_idle = heapq.nsmallest(SLICE, idle, key=lambda each: each[0])[::-1]
            self._end_longest_idle()

    def _end_longest_idle(self) -> bool:
        """Of those on the list; whether there was one. Who is not on it, or has asked since, has been idle for less
        long."""
        while self._longest_idle:
            since_s, connection = self._longest_idle.pop()
            if connection.since_s == since_s and connection.idle and not connection.transport.is_closing():
                connection.transport.abort()
                return True
        return False

    def _sweep(self) -> None:
        if not self._round:
            self._round = list(self.open)[::-1]
            self._pace_s = SWEEP_S / max(1, -(-len(self._round) // SLICE))
        now_s = time.monotonic()
        closed = 0
        for _ in range(min(SLICE, len(self._round))):
            connection = self._round.pop()
            if connection in self.open:
                was_closing = connection.transport.is_closing()
                connection.look(now_s)
                closed += connection.transport.is_closing() and not was_closing
                if closed == CLOSED:
                    break
        pause_s = PAUSE_S if closed == CLOSED and self._round else self._pace_s
        asyncio.get_running_loop().call_later(pause_s, self._sweep)


class Flow(FlowControl):
    """uvicorn reads on whenever a request asks for its body, even while others that were sent ahead wait: a caller who
    never takes an answer could have it keep any number of them. Here nothing is read while there are any."""

    def __init__(self, transport: asyncio.Transport, pipeline: Sized) -> None:
        super().__init__(transport)
        self._pipeline = pipeline

    def resume_reading(self) -> None:
        if not self._pipeline and not self.write_paused:
            super().resume_reading()


class Protocol(HttpToolsProtocol):
    """`lane` and `watch` are set by a subclass that belongs to one server (`protocol_of`)."""

    lane: Lane
    watch: Watch
    cycle: Any  # None, uvicorn's cycle of a request, or a request in the lane

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.since_s = 0.0  # when the present state began
        self.receiving = ""  # "head", "body", or nothing
        self.received = 0  # bytes of it
        self._unsent = 0  # bytes of answers that were not taken when we last looked
        self._stuck_s = 0.0  # since when that has not become less
        self._task: asyncio.Task[None] | None = None
        self._piece = b""  # what is being read, where a request begins with it and the line was full
        self._prefix: tuple[object, dict[int, bytes]] = (None, {})

    # --- a connection -----------------------------------------------------------------------------------------------

    @property
    def idle(self) -> bool:
        return not self.receiving and (self.cycle is None or self.cycle.response_complete)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.flow = Flow(transport, self.pipeline)
        self.since_s = self._stuck_s = time.monotonic()
        self.watch.open[self] = None
        self.watch.make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        self.watch.open.pop(self, None)
        if self.watch.closed is not None:
            self.watch.closed()
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
                self._too_slow("body")
        elif self.idle and not unsent and spent_s > (patience_s if self.cycle is None else IDLE_S):  # never asked; idle
            self.transport.close()

    def _too_slow(self, what: str) -> None:
        detail = f"The {what} of the request did not arrive in time; send it at once, or on a better line."
        if self.cycle is None or self.cycle.response_complete or not getattr(self.cycle, "response_started", False):
            self.watch.timed_out()
            self._answer_and_close(
                Problem("deadline-exceeded", detail, status=408, title="The request came too slowly")
            )
        else:
            self._drop()

    def _drop(self) -> None:
        self.watch.timed_out()
        self.transport.abort()

    # --- a request --------------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        if not self.receiving:
            self.since_s = time.monotonic()
            if self.lane.full:
                if self._refuse_known(data):
                    return
                self._piece = data
            self.receiving, self.received = "head", 0
        self.received += len(data)
        super().data_received(data)
        self._piece = b""
        if self.receiving == "head" and self.received > HEAD_BYTES and not self.transport.is_closing():
            self._head_too_large()

    def on_message_begin(self) -> None:
        self.url = b""
        self.headers = []
        self.expect_100_continue = False
        if not self.receiving:  # the next of several in one piece
            self.receiving, self.received, self.since_s = "head", 0, time.monotonic()

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self.receiving, self.received, self.since_s = "body", 0, time.monotonic()
        if sum(len(name) + len(value) for name, value in self.headers) + len(self.url) > HEAD_BYTES:
            self._head_too_large()
            return
        parser = self.parser
        pending = self.cycle is not None and not self.cycle.response_complete
        if not pending and parser.get_method() == b"POST" and parser.get_http_version() == "1.1":
            express = self.lane.candidate(self, self.url, parser.should_keep_alive())
            if express is not None:
                self.cycle = express
                return
        headers, url = self.headers, self.url
        super().on_message_begin()  # makes the scope, which the lane does without
        self.headers.extend(headers)
        self.url = url
        self.expect_100_continue = any(
            name == b"expect" and value.lower() == b"100-continue" for name, value in headers
        )
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if isinstance(self.cycle, Express):
            if not self.cycle.response_complete:
                self.cycle.body.append(body)
        elif not isinstance(self.cycle, Refused) and not self.transport.is_closing():
            super().on_body(body)

    def on_message_complete(self) -> None:
        self.receiving, self.since_s = "", time.monotonic()
        if isinstance(self.cycle, Express):
            if not self.cycle.response_complete and not self.transport.is_closing():
                self.lane.enter(self.cycle)
        elif isinstance(self.cycle, Refused):
            if not self.cycle.response_complete and not self.transport.is_closing():
                self._refuse(self.cycle)
        elif self.cycle is not None:
            super().on_message_complete()
            self.flow.resume_reading()  # it stopped for a large body, and would not see that the caller hangs up

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        self._task = task = self.loop.create_task(cycle.run_asgi(app))
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)

    # --- an answer --------------------------------------------------------------------------------------------------

    def send_express(self, status: int, head: bytes, content: bytes, keep_alive: bool) -> None:
        """head: header lines from the first to the empty one, but those that all answers have."""
        if self.transport.is_closing():
            return
        defaults = self.server_state.default_headers
        if self._prefix[0] is not defaults:
            self._prefix = (defaults, {})
        prefix = self._prefix[1].get(status)
        if prefix is None:
            lines = b"".join(b"%b: %b\r\n" % header for header in defaults)
            prefix = self._prefix[1][status] = STATUS_LINE[status] + lines
        self.transport.write(prefix + head + content)
        if not keep_alive:
            self.transport.close()
        self.on_response_complete()

    def _refuse(self, refused: Refused) -> None:
        """Its body is complete."""
        spent_s = time.monotonic() - refused.start_s
        refused.response_complete = True
        self.transport.write(self.lane.refusal(refused, self.server_state.default_headers, spent_s))
        if not refused.keep_alive:
            self.transport.close()
        elif self._piece:
            self.lane.refusals.remember(self._piece, refused)
        self.on_response_complete()

    def _refuse_known(self, data: bytes) -> bool:
        """Refuses a request that came in one piece and is known by its head, without the parser; whether it did."""
        cycle = self.cycle
        if (cycle is not None and not cycle.response_complete) or not self.lane.refusals.knows(data):
            return False
        if self.transport.is_closing():
            return False
        if cycle is None:
            self.cycle = LAST  # it has asked
        start_s, self.since_s = self.since_s, time.monotonic()
        self.server_state.total_requests += 1
        self.transport.write(self.lane.refusal(None, self.server_state.default_headers, self.since_s - start_s))
        return True

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        if not self.receiving:
            self.since_s = time.monotonic()
        if self.pipeline:  # what was sent ahead comes first, and nothing is read meanwhile: it would pile up
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
        else:
            self.flow.resume_reading()

    def pause_writing(self) -> None:
        super().pause_writing()
        self.flow.pause_reading()  # who does not take answers need not ask more

    def resume_writing(self) -> None:
        super().resume_writing()
        self.flow.resume_reading()

    def send_400_response(self, msg: str) -> None:
        self._answer_and_close(
            Problem("invalid-value", "These bytes are not an HTTP request.", status=400, title="Not HTTP")
        )

    def _head_too_large(self) -> None:
        detail = f"The head of a request may have {HEAD_BYTES:,} bytes; this one has more."
        self._answer_and_close(Problem("invalid-value", detail, status=431, title="The head is too large"))

    def _answer_and_close(self, problem: Problem) -> None:
        request_id = secrets.token_hex(8)
        body = problem.body(request_id)
        head = (
            f"content-type: {MEDIA_TYPE}\r\n"
            f"content-length: {len(body)}\r\n"
            f"x-request-id: {request_id}\r\n"
            "connection: close\r\n\r\n"
        )
        self.transport.write(STATUS_LINE[problem.status] + head.encode() + body)
        self.transport.close()


def protocol_of(lane: Lane, watch: Watch) -> type[Protocol]:
    return type("Protocol", (Protocol,), {"lane": lane, "watch": watch})
