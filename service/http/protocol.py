"""The HTTP protocol of uvicorn, hardened and shortened: from bytes to requests, and from answers to bytes.

**Meaning.** A request that two programs could read differently is refused (`head.py`). Trailers are dropped. They, and
whatever else frames a body, count against the size limit of the head. An offer to upgrade is ignored, and the request
is answered as it stands. After a refusal, nothing more on the connection is read as a request.

**Speed.** A plain search goes to the fast path (`fast_path.py`) as soon as its body is complete. When the waiting line
is full it is refused from its head alone (`refusal.py`).
"""

from __future__ import annotations

import asyncio
import time
from typing import Any, NoReturn

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE
from uvicorn.server import ServerState

from service.http import head
from service.http.connection import Connection
from service.http.fast_path import FastPath, FastRequest
from service.http.refusal import LAST, Refused
from service.http.watch import Watch
from service.telemetry import logs
from service.telemetry.exposition import OTHER
from service.telemetry.metrics import Metrics
from service.wire.problems import Problem

HEAD_BYTES = 32 << 10
FRAMING = 16  # bytes of chunk sizes and extensions for each of a body, beyond HEAD_BYTES; chunks of one byte have 5


class ProtocolStopped(Exception):  # noqa: N818 - an event and not an error
    """Ends the parser, which is told of nothing else."""


class Protocol(Connection):
    """`fast_path`, `watch` and `known_hosts` are set by a subclass that belongs to one server (`protocol_of`).

    Args:
        known_hosts: values of Host headers that were found good.
    """

    fast_path: FastPath
    known_hosts: set[bytes]

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._piece = b""  # what is being read, where a request begins with it and the line was full
        self._prefix: tuple[object, dict[int, bytes]] = (None, {})
        self._head_bytes = 0  # of the head and the trailers of a request that takes the general way
        self._chunked = False  # whether its body comes in chunks
        self._delivered = 0  # bytes of its body
        self._again = b""  # the head that was just read, without its offer to upgrade

    # --- a request --------------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        if not self.receiving:
            self.since_s = time.monotonic()
            if self.fast_path.full:
                if self._refuse_known(data):
                    return
                self._piece = data
            self.receiving, self.received = "head", 0
        elif self.receiving == "rest":
            self.read_past(len(data))
            return
        self.received += len(data)
        try:
            self._parse(data)
        except httptools.HttpParserError as error:
            if self.receiving != "rest":  # else the reason was given
                self.end(head.of_version("2") if self.parser.get_method() == b"PRI" else head.of_bytes(error))
        self._piece = b""
        if self.receiving and self.received > HEAD_BYTES:
            self._bound()

    def _parse(self, data: bytes | memoryview) -> None:
        while True:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as offer:
                # The parser takes what follows for another protocol. Without the offer, a new one reads the same head.
                data = memoryview(data)[offer.args[0] :]
                self.parser = httptools.HttpRequestParser(self)
                self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
                self.parser.feed_data(self._again)
            else:
                return

    def _stop(self, problem: Problem) -> NoReturn:
        """`end` for a callback of the parser, which reads on unless one raises."""
        self.end(problem)
        raise ProtocolStopped

    def _bound(self) -> None:
        """After more than HEAD_BYTES of a head or a body: refuses it when too much of that frames the body."""
        if self.receiving == "head":
            self.end(head.of_length(HEAD_BYTES))
        elif self.receiving == "body":
            if self.cycle.response_complete:
                self.read_past(0)
            elif self._chunked and self.received - self._delivered > HEAD_BYTES + FRAMING * self._delivered:
                self.end(head.of_length(HEAD_BYTES))

    def on_message_begin(self) -> None:
        if self.transport.is_closing():  # the request before this one was the last
            self.receiving = "rest"
            raise ProtocolStopped
        self.url = b""
        self.headers = []
        self.expect_100_continue = False
        if not self.receiving:  # the next of several in one piece
            self.receiving, self.received, self.since_s = "head", 0, time.monotonic()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.receiving == "body":  # a trailer: it was not there when the request was judged by its head
            self._head_bytes += len(name) + len(value) + head.AROUND
            if self._head_bytes > HEAD_BYTES:
                self._stop(head.of_length(HEAD_BYTES))
        else:
            self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self.received, self.since_s = 0, time.monotonic()
        headers, url, parser = self.headers, self.url, self.parser
        size, hosts, host = len(url), 0, b""
        for name, value in headers:
            size += len(name) + len(value) + head.AROUND
            if name == b"host":
                host = value
                hosts += 1
        if size > HEAD_BYTES:
            self._stop(head.of_length(HEAD_BYTES))
        version = parser.get_http_version()
        upgrade = parser.should_upgrade()
        if hosts != 1 or host not in self.known_hosts or version != "1.1" or upgrade or not url.startswith(b"/"):
            self._check(version, host)
            if upgrade:
                self._again = head.without_upgrade(parser.get_method(), url, version, headers)
                self.receiving = "upgrade"
                return
        pending = self.cycle is not None and not self.cycle.response_complete
        if not pending and version == "1.1" and parser.get_method() == b"POST":
            fast_request = self.fast_path.candidate(self, url, parser.should_keep_alive())
            if fast_request is not None:
                self.cycle = fast_request
                self.receiving = "body"
                return
        self._take_the_general_way(version, size)
        self.receiving = "body"

    def _check(self, version: str, host: bytes) -> None:
        try:
            head.check(self.parser.get_method(), version, self.url, self.headers)
        except Problem as problem:
            self._stop(problem)
        if len(self.known_hosts) >= head.KNOWN_HOSTS:
            self.known_hosts.clear()
        if host:  # HTTP/1.0 may have none
            self.known_hosts.add(host)

    def _take_the_general_way(self, version: str, size: int) -> None:
        headers, url = self.headers, self.url
        try:
            self._chunked = head.check_general(version, url, headers)
        except Problem as problem:
            self._stop(problem)
        self._head_bytes, self._delivered = size, 0
        super().on_message_begin()  # makes the scope, which the fast path does without
        self.headers.extend(headers)
        self.url = url
        self.expect_100_continue = any(
            name == b"expect" and value.lower() == b"100-continue" for name, value in headers
        )
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if isinstance(self.cycle, FastRequest):
            if not self.cycle.response_complete:
                self.cycle.body.append(body)
        elif not isinstance(self.cycle, Refused) and not self.transport.is_closing():
            self._delivered += len(body)
            super().on_body(body)

    def on_message_complete(self) -> None:
        if self.receiving == "upgrade":  # the body comes after the same head, read once more
            return
        self.receiving, self.since_s = "", time.monotonic()
        if isinstance(self.cycle, FastRequest):
            if not self.cycle.response_complete and not self.transport.is_closing():
                self.fast_path.enter(self.cycle)
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

    def send_fast(self, status: int, head: bytes, content: bytes, keep_alive: bool) -> None:
        """
        Args:
            head: header lines up to the empty one, without those that all answers have.
        """
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
        self.transport.write(self.fast_path.refusal(refused, self.server_state.default_headers, spent_s))
        if not refused.keep_alive:
            self.transport.close()
        elif self._piece:
            self.fast_path.refusals.remember(self._piece, refused)
        self.on_response_complete()

    def _refuse_known(self, data: bytes) -> bool:
        """Refuses a request that came in one piece and whose head is remembered, without the parser; whether it did."""
        cycle = self.cycle
        if (cycle is not None and not cycle.response_complete) or not self.fast_path.refusals.knows(data):
            return False
        if self.transport.is_closing():
            return False
        if cycle is None:
            self.cycle = LAST  # it has asked
        start_s, self.since_s = self.since_s, time.monotonic()
        self.server_state.total_requests += 1
        self.transport.write(self.fast_path.refusal(None, self.server_state.default_headers, self.since_s - start_s))
        return True

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        if not self.receiving:
            self.since_s = time.monotonic()
        elif self.receiving == "body" and self.cycle.response_complete:  # what is still to come is read past
            self.received, self.since_s = 0, time.monotonic()
        if self.pipeline:  # what was sent ahead comes first, and nothing is read meanwhile: it would pile up
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
        elif self._farewell is not None:
            self._say(self._farewell)
        else:
            self.flow.resume_reading()


def protocol_of(fast_path: FastPath, watch: Watch, metrics: Metrics) -> type[Protocol]:
    """The protocol of one server. Bytes that are no request are counted and logged as others are, as far as there is
    anything to say of them: not by method and path, since who sent them could write anything there."""

    def refused(problem: Problem, answer_bytes: int, request_id: str, seconds: float) -> None:
        metrics.count_request(OTHER, problem.status, seconds)
        if logs.wanted():
            logs.note(
                *(OTHER, problem.status, seconds),
                method="-",
                path="-",
                answer_bytes=answer_bytes,
                request_id=request_id,
                key=None,
            )

    own = {"fast_path": fast_path, "watch": watch, "refused": staticmethod(refused), "known_hosts": set()}
    return type("Protocol", (Protocol,), own)
