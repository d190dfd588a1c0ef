"""All connections of one event loop: closes those that are too slow or must make room, and parks idle ones.

There are no timers for single connections. A `Watch` looks at every connection once a second, in slices, and closes a
few at a time: ten thousand idle ones cost some ten milliseconds a second, and no request waits for all of them.

Ten thousand idle connections that are all dropped at once by their callers are as many events in one turn of the loop,
at some 20 µs each, during which nothing else is answered. So beyond `PARK_ABOVE` idle connections are parked: uvloop
stops reading them, a separate epoll watches them, and at most `WOKEN` are woken in a turn, with requests answered in
between. Parking costs six system calls each time a connection falls idle, and its next request waits one more turn.
"""

from __future__ import annotations

import asyncio
import heapq
import select
import time
from collections.abc import Callable
from typing import Protocol

from uvicorn.protocols.http.flow_control import FlowControl

SWEEP_S = 1.0
SLICE = 200  # connections that are looked at in one turn; about a microsecond each
CLOSED = 20  # … and closed in one turn; up to a tenth of a millisecond each
PAUSE_S = 0.02  # between goes when there are more to close
PARK_ABOVE = 256  # open connections: so many may end in one turn, which takes 5 ms
WOKEN = 32  # in one turn; what each of them may be is an end, so that a turn takes a millisecond


class Watched(Protocol):
    """What a connection shows to the one that watches it (`connection.py`).

    Args:
        since_s: when its present state began.
        descriptor: of its socket, while it is parked, else -1.
    """

    transport: asyncio.Transport
    since_s: float
    descriptor: int

    @property
    def idle(self) -> bool: ...

    @property
    def flow(self) -> FlowControl: ...

    def look(self, now_s: float) -> None: ...


class Watch:
    """Looks at every connection once a second; belongs to one event loop."""

    def __init__(
        self,
        connections: int,
        patience_s: float,
        timed_out: Callable[[], None],
        closed: Callable[[], None] | None = None,
    ) -> None:
        """
        Args:
            connections: How many may be open.
            patience_s: With a head, with the start of a body, and, twice, with an answer of which nothing is taken.
            timed_out: Called for every connection that was too slow.
            closed: Called for every one that ends.
        """
        self.bound = connections
        self.patience_s = patience_s
        self.timed_out = timed_out
        self.closed = closed
        self.open: dict[Watched, None] = {}  # in the order in which they were opened
        self._round: list[Watched] = []  # those that are still to be looked at in this round, the last one first
        self._pace_s = SWEEP_S  # from one go to the next in this round
        self._longest_idle: list[tuple[float, Watched]] = []  # with since when, longest last; some may have asked
        self._parking: Parking | None = None

    def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._parking = Parking(loop)
        loop.call_later(SWEEP_S, self._sweep)

    def opened(self, connection: Watched) -> None:
        self.open[connection] = None
        self.make_room()
        if len(self.open) > PARK_ABOVE:  # uvloop begins to read it when it has been told, so not at once
            asyncio.get_running_loop().call_soon(self._park, connection)

    def ended(self, connection: Watched) -> None:
        self.open.pop(connection, None)
        if self._parking is not None:
            self._parking.forget(connection)
        if self.closed is not None:
            self.closed()

    def _park(self, connection: Watched) -> None:
        if self._parking is not None and connection.idle and not connection.transport.is_closing():
            self._parking.park(connection)

    def make_room(self) -> None:
        """Closes the connection that has been idle longest, when there are too many."""
        if len(self.open) <= self.bound:
            return
        if not self._end_longest_idle():
            idle = ((one.since_s, one) for one in self.open if one.idle and not one.transport.is_closing())
            self._longest_idle = heapq.nsmallest(SLICE, idle, key=lambda each: each[0])[::-1]
            self._end_longest_idle()

    def _end_longest_idle(self) -> bool:
        """Closes the first on the list that is still idle; whether there was one. Connections that are not on it, or
        were used since, have been idle for less long."""
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
        parks = len(self.open) > PARK_ABOVE
        for _ in range(min(SLICE, len(self._round))):
            connection = self._round.pop()
            if connection in self.open:
                was_closing = connection.transport.is_closing()
                connection.look(now_s)
                closed += connection.transport.is_closing() and not was_closing
                if closed == CLOSED:
                    break
                if parks and now_s - connection.since_s >= SWEEP_S:
                    self._park(connection)
        pause_s = PAUSE_S if closed == CLOSED and self._round else self._pace_s
        asyncio.get_running_loop().call_later(pause_s, self._sweep)


class Parking:
    """Idle connections that the loop does not read, until there is something to read."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._epoll: select.epoll | None = None
        self._parked: dict[int, Watched] = {}  # by descriptor

    def park(self, connection: Watched) -> None:
        if connection.descriptor >= 0 or connection.flow.read_paused:
            return
        if self._epoll is None:
            self._epoll = select.epoll()
            self._loop.add_reader(self._epoll.fileno(), self._wake)
        connection.descriptor = connection.transport.get_extra_info("socket").fileno()
        self._parked[connection.descriptor] = connection
        connection.transport.pause_reading()
        self._epoll.register(connection.descriptor, select.EPOLLIN)

    def forget(self, connection: Watched) -> None:
        if connection.descriptor >= 0 and self._epoll is not None:
            self._epoll.unregister(connection.descriptor)
            del self._parked[connection.descriptor]
            connection.descriptor = -1

    def _wake(self) -> None:
        assert self._epoll is not None
        for descriptor, _ in self._epoll.poll(0, WOKEN):
            connection = self._parked[descriptor]
            self.forget(connection)
            if not connection.transport.is_closing():
                connection.transport.resume_reading()
