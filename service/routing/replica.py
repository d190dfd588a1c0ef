"""One server that was named to the router: its connections, how busy it is with us, and what it serves."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from urllib.parse import urlsplit

import msgspec

from service.errors import SettingsError
from service.routing.connection import Reply, ShardConnection, Unanswered
from service.wire.answer.indexes import IndexInfo, IndexList

IDLE_CONNECTIONS = 64  # kept; as many as requests a server works on at once by default
_LIST = msgspec.json.Decoder(IndexList)


class ShardRequest:
    """What is asked of one or more servers, as bytes but for the lines that name the server.

    Args:
        headers: lines, each with its end.
    """

    __slots__ = ("content", "headers", "line", "method", "path", "rest")

    def __init__(self, method: str, path: str, content: bytes = b"", headers: str = "") -> None:
        self.method, self.path, self.content, self.headers = method, path, content, headers
        self.line = f"{method} {path} HTTP/1.1\r\n".encode()
        self.rest = f"{headers}content-length: {len(content)}\r\n\r\n".encode() + content


class Replica:
    """
    Args:
        address: http://host:port.
        key: that it asks for, None: none.
    """

    def __init__(self, address: str, key: str | None) -> None:
        parts = urlsplit(address)
        if parts.scheme != "http" or not parts.hostname or parts.path.strip("/") or parts.query:
            raise SettingsError(f"--shard {address!r}: expected the address of a server, like http://10.0.0.7:8000.")
        self.address = f"http://{parts.netloc}"
        self._host, self._port = parts.hostname, parts.port or 80
        authorization = "" if key is None else f"authorization: Bearer {key}\r\n"
        self._heads = f"host: {parts.netloc}\r\n{authorization}content-type: application/json\r\n".encode()
        self._idle: list[ShardConnection] = []
        self.outstanding = 0
        self.lost = 0  # requests that another one had to answer, or nobody, since this one last answered
        self.up = False
        self.why = "it was not asked yet"  # it is not up
        self._late = 0  # looks in a row to which it did not answer in time
        self.serving: dict[str, IndexInfo] = {}

    def begin(self, request: ShardRequest, ended: Ended) -> ReplicaCall:
        """Asks, and calls back: no task is made where a connection is open. A request may arrive twice: what a write
        does, it does by ids.

        Args:
            ended: called once and later, with the call and what became of it; never after its `cancel`.
        """
        call = ReplicaCall(self, b"".join((request.line, self._heads, request.rest)), ended)
        self.outstanding += 1
        call.send()
        return call

    async def ask(self, method: str, path: str, content: bytes = b"", headers: str = "") -> Reply:
        """As `begin`, awaited. Raises Unanswered. Cancelling it takes the request back as far as that is possible."""
        waiting: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()

        def ended(_call: ReplicaCall, outcome: Reply | Unanswered) -> None:
            if waiting.done():
                return
            if isinstance(outcome, Unanswered):
                waiting.set_exception(outcome)
            else:
                waiting.set_result(outcome)

        call = self.begin(ShardRequest(method, path, content, headers), ended)
        try:
            return await waiting
        finally:
            call.cancel()

    async def open(self) -> ShardConnection:
        return await ShardConnection.open(self._host, self._port)

    def idle(self) -> ShardConnection | None:
        """A connection on which nobody waits, None where there is none."""
        while self._idle:
            connection = self._idle.pop()
            if connection.usable:
                return connection
        return None

    def keep(self, connection: ShardConnection) -> None:
        """For the next request."""
        if connection.usable and len(self._idle) < IDLE_CONNECTIONS:
            self._idle.append(connection)
        else:
            connection.close()

    async def look(self, patience_s: float) -> None:
        """Learns whether it answers, and what it serves."""
        try:
            reply = await asyncio.wait_for(self.ask("GET", "/v1/indexes"), patience_s)
            if reply.status != 200:
                raise Unanswered(f"GET /v1/indexes was answered with {reply.status}")
            serving = {info.alias: info for info in _LIST.decode(reply.content).indexes}
        except Unanswered as error:
            self.down(str(error))
        except TimeoutError:
            self._late += 1
            if self._late > 1 or not self.up:  # once may be a second in which its machine stood still
                self.down(f"it did not answer within {patience_s:g} s")
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            self.down(f"what answers is no perwatt ({error})")
        else:
            self.up, self.lost, self.serving, self._late = True, 0, serving, 0

    def answers(self, name: str, generation: str) -> bool:
        """Whether it is up and answers for a generation, be it the one that it serves or one beside it."""
        served = self.serving.get(name) if self.up else None
        return served is not None and (served.generation == generation or generation in served.beside)

    def down(self, why: str) -> None:
        self.up, self.why = False, why

    def close(self) -> None:
        while self._idle:
            self._idle.pop().close()


class ReplicaCall:
    """One request to a replica that is under way."""

    __slots__ = ("_connection", "_ended", "_opening", "_request", "begun_s", "replica")

    def __init__(self, replica: Replica, request: bytes, ended: Ended) -> None:
        self.replica, self.begun_s = replica, time.perf_counter()
        self._request, self._ended = request, ended
        self._connection: ShardConnection | None = None
        self._opening: asyncio.Task[None] | None = None

    def send(self) -> None:
        self._connection = self.replica.idle()
        if self._connection is None:
            self._opening = asyncio.ensure_future(self._open())
        else:
            self._connection.send(self._request, self._answered)

    def cancel(self) -> None:
        """Takes it back as far as that is possible; nothing where it has ended."""
        if self._opening is None and self._connection is None:
            return
        self.replica.outstanding -= 1
        if self._opening is not None:
            self._opening.cancel()
            self._opening = None
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    async def _open(self) -> None:
        try:
            connection = await self.replica.open()
        except Unanswered as error:
            self._opening = None
            self._end(error)
            return
        self._opening = None
        if not connection.usable:
            self._end(Unanswered("the connection was closed"))
            return
        self._connection = connection
        connection.send(self._request, self._answered)

    def _answered(self, outcome: Reply | Unanswered) -> None:
        connection, self._connection = self._connection, None
        assert connection is not None  # it has called this
        if isinstance(outcome, Unanswered) and connection.asked > 1:
            self.send()  # the server may close a connection that was idle just when it is used again
            return
        self.replica.keep(connection)
        self._end(outcome)

    def _end(self, outcome: Reply | Unanswered) -> None:
        self.replica.outstanding -= 1
        self._ended(self, outcome)


Ended = Callable[[ReplicaCall, Reply | Unanswered], None]
