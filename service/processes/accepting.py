"""The parent's end of the port: hands every connection to a worker, and holds it while no worker can take it.

While all workers are busy, or are dead and being replaced, connections are held here. More of them stay in the kernel's
queue, where callers notice only the delay. When there has been no worker for `HOLD_S`, callers are answered 503, so
that a load balancer can try another server. That is the only answer the parent gives, and it does not read requests.
"""

from __future__ import annotations

import errno
import selectors
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable

from service.processes.listening import listen
from service.wire.problems import MEDIA_TYPE, Problem

ACCEPT_AT_ONCE = 64
HOLD_S = 10.0  # a worker is replaced in two to four; after this long, callers and their balancers give up anyway
RETRY_S = 0.005  # until a worker that had its hands full is asked again
LEAVE_S, LEAVING = 2.0, 256  # how long, and for how many, what was sent is read past, so that the answer is not lost
RETRY_AFTER_S = 2


class Accepting:
    """The listening socket, and what came in by it that no worker has.

    Args:
        listening: Bound, and not listening yet.
        selector: Of the loop that calls `turn`.
        give: Hands a connection to a worker; whether there was one for it, whose it is then.
        ready: Whether there is a worker that could.
    """

    def __init__(
        self,
        listening: socket.socket,
        selector: selectors.BaseSelector,
        give: Callable[[socket.socket], bool],
        ready: Callable[[], bool],
    ) -> None:
        self.listening = listening
        self.open = False
        self._selector = selector
        self._give, self._ready = give, ready
        self._held: deque[socket.socket] = deque()
        self._ready_s = 0.0  # when a worker was last there
        self._leaving: dict[socket.socket, float] = {}  # since when, the longest first

    def start(self) -> None:
        listen(self.listening)
        self.listening.setblocking(False)
        self._selector.register(self.listening, selectors.EVENT_READ, self._accept)
        self.open = True

    def stop(self) -> None:
        """No more connections come; those that wait in the kernel's line are refused by it."""
        if self.open:
            self._listen(False)
        self.open = False
        self.listening.close()
        while self._held:
            self._turn_away(self._held.popleft())

    def close(self) -> None:
        """Every socket, without a word, as in a process that has just been forked."""
        self.listening.close()
        for each in (*self._leaving, *self._held):
            each.close()

    def give_back(self, connections: Iterable[socket.socket]) -> None:
        """Of a worker that ended before it took them: nothing was read from them, so they are as good as new."""
        self._held.extend(connections)
        if self.open:
            self._listen(not self._held)

    def wait_s(self, longest_s: float) -> float:
        """How long nothing need be done here, at most `longest_s`."""
        if self._held:
            until_s = RETRY_S if self._ready() else HOLD_S - (time.monotonic() - self._ready_s)
            longest_s = min(longest_s, max(RETRY_S, until_s))
        return longest_s

    def turn(self) -> None:
        now_s = time.monotonic()
        if self._ready():
            self._ready_s = now_s
        while self._leaving and now_s - next(iter(self._leaving.values())) > LEAVE_S:
            self._leave(next(iter(self._leaving)))
        while self._held and self._settle(self._held[0]):
            self._held.popleft()
        if self.open:
            self._listen(not self._held)

    def _listen(self, wanted: bool) -> None:
        listens = self.listening in self._selector.get_map()
        if wanted and not listens:
            self._selector.register(self.listening, selectors.EVENT_READ, self._accept)
        elif listens and not wanted:
            self._selector.unregister(self.listening)

    def _accept(self) -> None:
        for _ in range(ACCEPT_AT_ONCE):
            try:
                connection, _ = self.listening.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS):
                    time.sleep(0.01)  # the next descriptor that is closed makes room
                return
            if not self._settle(connection):
                self._held.append(connection)
                self._listen(False)
                return

    def _settle(self, connection: socket.socket) -> bool:
        """Whether `connection` is a worker's now, or was turned away."""
        if self._give(connection):
            return True
        if self.open and (self._ready() or time.monotonic() - self._ready_s < HOLD_S):
            return False
        self._turn_away(connection)
        return True

    def _turn_away(self, connection: socket.socket) -> None:
        problem = Problem(
            "not-ready",
            "No worker of this server is running; it starts new ones.",
            headers={"retry-after": str(RETRY_AFTER_S)},
        )
        body = problem.body()
        lines = "".join(f"{name}: {value}\r\n" for name, value in problem.headers.items())
        head = (
            f"HTTP/1.1 503 Service Unavailable\r\ncontent-type: {MEDIA_TYPE}\r\ncontent-length: {len(body)}\r\n{lines}"
        )
        try:
            connection.setblocking(False)
            connection.send(head.encode() + b"connection: close\r\n\r\n" + body)
            connection.shutdown(socket.SHUT_WR)
        except OSError:
            connection.close()
            return
        if len(self._leaving) >= LEAVING:
            self._leave(next(iter(self._leaving)))
        self._leaving[connection] = time.monotonic()
        self._selector.register(connection, selectors.EVENT_READ, lambda: self._read_past(connection))

    def _read_past(self, connection: socket.socket) -> None:
        if connection not in self._leaving:  # it was made to leave in this turn
            return
        try:
            gone = not connection.recv(1 << 16)
        except BlockingIOError:
            return
        except OSError:
            gone = True
        if gone:
            self._leave(connection)

    def _leave(self, connection: socket.socket) -> None:
        del self._leaving[connection]
        self._selector.unregister(connection)
        connection.close()
