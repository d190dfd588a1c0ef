"""The open-loop engine: sends each request when it is due, whatever became of the ones before.

The textbook generator has a thread or a greenlet for each user, which sends, waits, and sends again; when the service
slows, so does the load (a closed loop), and the slow times are the ones that are sampled least (coordinated omission).
Here one timer wakes for the next arrival of the schedule, takes an idle connection, and writes. Answers come back as
events of the sockets. No greenlet is switched in between: everything runs as callbacks in gevent's loop, which is what
makes one core reach tens of thousands of requests a second.

Three fates of a scheduled request are told apart, because they have different culprits:
    shed      every allowed connection was still waiting for an answer: the service did not keep up
    missed    we were later than `max_lag_s` ourselves: the generator did not keep up
    error     it was sent, and what came back was no answer (status, reset, timeout)
None of them is made up for later. A burst of catching-up sends is a load that nobody asked for.
"""

from __future__ import annotations

import heapq
import socket
import time
from collections import Counter, deque
from collections.abc import Container, Iterator
from typing import Any

from loadtest.generator.timer import AbsoluteTimer
from loadtest.generator.wire import READ_BYTES, Malformed, dial, response_end, status_of, stays_open
from loadtest.workload.requests import Workload
from loadtest.workload.schedule import PoissonStream

READ, WRITE = 1, 2
OTHERS = 5  # for each sample of a known request, at most a fifth as many of the others
BURST = 128  # sends before the loop may look at answers again; at 15 µs a send that is 2 ms


class _Connection:
    __slots__ = ("data", "due", "outgoing", "reader", "request", "sample", "sent", "sock", "writer")

    def __init__(self, sock: socket.socket, loop: Any) -> None:
        self.sock = sock
        self.reader = loop.io(sock.fileno(), READ)
        self.writer: Any = None
        self.data = b""
        self.outgoing = b""
        self.due = self.sent = 0.0
        self.request = 0
        self.sample = False


class Pump:
    """Sends the requests of `workload` on the schedule of its streams until they are closed.

    `answered` collects (due, sent, done) triples flat, monotonic seconds, of requests answered with 200; whoever reads
    it swaps in an empty list. `failed` counts (kind, second it was due in), `samples` holds (request, sent, done, raw
    response). Seconds begin `zero` after whole ones of the clock, so that a window that another host's clock decided is
    cut into seconds too.
    """

    def __init__(
        self, workload: Workload, loop: Any, make_socket: type[socket.socket], known: Container[int] = ()
    ) -> None:
        plan = workload.plan
        self._workload = workload
        self._loop = loop
        self._make = make_socket
        self._cap = plan.max_in_flight
        self._max_lag_s = plan.max_lag_s
        self._timeout_s = plan.timeout_s
        where = workload.address
        found = socket.getaddrinfo(where.host, where.port, type=socket.SOCK_STREAM)[0]
        self._family, self._address = found[0], found[4]
        self.due: list[tuple[float, int, PoissonStream, Iterator[int]]] = []
        self._idle: list[_Connection] = []
        self._busy: set[_Connection] = set()
        self.open_connections = 0
        self._opened = 0
        self._timer = AbsoluteTimer(loop, self._send_due)
        self._sample_gap_s = 1.0 / plan.samples_per_s if plan.samples_per_s > 0 else float("inf")
        self._next_sample = self._next_known = 0.0
        self.known: Container[int] = known
        self.stop_at = float("inf")
        self.zero = 0.0
        self.planned: Counter[int] = Counter()
        self.failed: Counter[tuple[str, int]] = Counter()
        self.answered: list[float] = []
        self.samples: deque[tuple[int, float, float, bytes]] = deque(maxlen=4096)

    # ---- streams

    def open_stream(self, rate_qps: float, seed: int, stream: tuple[int, ...], begin: float) -> None:
        schedule = PoissonStream(rate_qps, seed, stream)
        picks = self._workload.picks(stream)
        self._opened += 1  # breaks ties of due times, so that nothing else is ever compared
        heapq.heappush(self.due, (begin + schedule.gap_s(), self._opened, schedule, picks))
        self._timer.set(self.due[0][0])

    def close_streams(self, count: int = 1) -> None:
        """End `count` streams: the last opened ones go first."""
        by_age = sorted(self.due, key=lambda entry: entry[1])
        self.due = by_age[: max(len(by_age) - count, 0)]
        heapq.heapify(self.due)

    @property
    def in_flight(self) -> int:
        return len(self._busy)

    # ---- sending

    def _send_due(self) -> None:
        heap, idle, monotonic = self.due, self._idle, time.monotonic
        for _ in range(BURST):
            if not heap:
                return
            now = monotonic()
            due, key, schedule, picks = heap[0]
            if due > now:
                self._timer.set(due)
                return
            if due >= self.stop_at:
                heapq.heappop(heap)
                continue
            heapq.heapreplace(heap, (due + schedule.gap_s(), key, schedule, picks))
            second = int(due - self.zero)
            self.planned[second] += 1
            if now - due > self._max_lag_s:
                self.failed["missed", second] += 1
                next(picks)
                continue
            if idle:
                connection = idle.pop()
            elif self.open_connections >= self._cap:
                self.failed["shed", second] += 1
                next(picks)
                continue
            else:
                try:
                    connection = self._dial()
                except OSError as error:
                    self.failed[_name(error), second] += 1
                    next(picks)
                    continue
            connection.due = due
            connection.request = next(picks)
            self._write(connection, now)
        self._timer.set(monotonic())

    def _dial(self) -> _Connection:
        connection = _Connection(dial(self._family, self._address, self._make), self._loop)
        connection.reader.start(self._readable, connection)
        self.open_connections += 1
        return connection

    def _write(self, connection: _Connection, now: float) -> None:
        wire = self._workload.wire(connection.request)
        connection.sent = now
        # Requests whose exact answer is known are worth more than others, which only carry the service's own clock.
        known = connection.request in self.known
        connection.sample = now >= (self._next_known if known else self._next_sample)
        if connection.sample:
            if known:
                self._next_known = now + self._sample_gap_s
            else:
                self._next_sample = now + OTHERS * self._sample_gap_s
        self._busy.add(connection)
        try:
            length = connection.sock.send(wire)
        except BlockingIOError:  # still connecting, or the send buffer is full
            length = 0
        except OSError as error:
            self._fail(connection, _name(error))
            return
        if length < len(wire):
            connection.outgoing = wire[length:]
            connection.writer = self._loop.io(connection.sock.fileno(), WRITE)
            connection.writer.start(self._writable, connection)

    def _writable(self, connection: _Connection) -> None:
        if len(connection.outgoing) == len(self._workload.wire(connection.request)):
            connection.sent = time.monotonic()  # nothing has gone out before: now it is sent
        try:
            length = connection.sock.send(connection.outgoing)
        except BlockingIOError:
            return
        except OSError as error:
            self._fail(connection, _name(error))
            return
        connection.outgoing = connection.outgoing[length:]
        if not connection.outgoing:
            connection.writer.stop()
            connection.writer.close()
            connection.writer = None

    # ---- answers

    def _readable(self, connection: _Connection) -> None:
        try:
            data = connection.sock.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self._fail(connection, _name(error))
            return
        if not data or connection not in self._busy:
            self._fail(connection, "closed by the server")
            return
        if connection.data:
            data = connection.data + data
        try:
            end = response_end(data)
            if not end:
                connection.data = data
                return
            status = 200 if data.startswith(b"HTTP/1.1 200") else status_of(data)
        except Malformed:
            self._fail(connection, "not HTTP")
            return
        done = time.monotonic()
        connection.data = b""
        self._busy.discard(connection)
        if status == 200:
            self.answered += (connection.due, connection.sent, done)
            if connection.sample:
                self.samples.append((connection.request, connection.sent, done, data))
        else:
            self.failed[f"status {status}", int(connection.due - self.zero)] += 1
        if len(data) == end and stays_open(data):
            self._idle.append(connection)
        else:
            self._drop(connection)

    def _fail(self, connection: _Connection, kind: str) -> None:
        if connection in self._busy:
            self._busy.discard(connection)
            self.failed[kind, int(connection.due - self.zero)] += 1
        else:  # an idle connection that the server closed is not an error
            self._idle = [other for other in self._idle if other is not connection]
        self._drop(connection)

    def _drop(self, connection: _Connection) -> None:
        for watcher in (connection.reader, connection.writer):
            if watcher is not None:
                watcher.stop()
                watcher.close()
        connection.writer = None
        connection.sock.close()
        self.open_connections -= 1

    def sweep(self) -> None:
        """Give up on requests that were sent longer than the timeout ago."""
        limit = time.monotonic() - self._timeout_s
        for connection in [c for c in self._busy if c.sent < limit]:
            self._fail(connection, "timeout")

    def close(self) -> None:
        self.due.clear()
        self._timer.close()
        for connection in [*self._busy, *self._idle]:
            self._drop(connection)
        self._busy.clear()
        self._idle.clear()


def _name(error: OSError) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    return "connection reset" if isinstance(error, ConnectionResetError) else f"socket error {error.errno}"
