"""One server that was named to the router: its connections, how busy it is with us, and what it serves."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

import msgspec

from service.errors import SettingsError
from service.routing.connection import Reply, ShardConnection, Unanswered
from service.wire.answer.indexes import IndexInfo, IndexList

IDLE_CONNECTIONS = 64  # kept; as many as requests a server works on at once by default
_LIST = msgspec.json.Decoder(IndexList)


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
        self._heads = f"host: {parts.netloc}\r\n{authorization}content-type: application/json\r\n"
        self._idle: list[ShardConnection] = []
        self.outstanding = 0
        self.up = False
        self.why = "it was not asked yet"  # it is not up
        self.serving: dict[str, IndexInfo] = {}

    async def ask(self, method: str, path: str, content: bytes = b"", headers: str = "") -> Reply:
        """Raises Unanswered. Cancelling it takes the request back as far as that is possible. A request may arrive
        twice: what a write does, it does by ids."""
        head = f"{method} {path} HTTP/1.1\r\n{self._heads}{headers}content-length: {len(content)}\r\n\r\n"
        request = head.encode() + content
        self.outstanding += 1
        try:
            while True:
                connection = self._idle.pop() if self._idle else await ShardConnection.open(self._host, self._port)
                if not connection.usable:
                    continue
                fresh = connection.asked == 0
                try:
                    reply = await connection.send(request)
                except Unanswered:
                    # The server may close a connection that was idle just when it is used again.
                    if fresh:
                        raise
                    continue
                if connection.usable and len(self._idle) < IDLE_CONNECTIONS:
                    self._idle.append(connection)
                else:
                    connection.close()
                return reply
        finally:
            self.outstanding -= 1

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
            self.down(f"it did not answer within {patience_s:g} s")
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            self.down(f"what answers is no perwatt ({error})")
        else:
            self.up, self.serving = True, serving

    def answers(self, name: str, generation: str) -> bool:
        """Whether it is up and answers for a generation, be it the one that it serves or one beside it."""
        served = self.serving.get(name) if self.up else None
        return served is not None and (served.generation == generation or generation in served.beside)

    def down(self, why: str) -> None:
        self.up, self.why = False, why

    def close(self) -> None:
        while self._idle:
            self._idle.pop().close()
