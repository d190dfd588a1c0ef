"""HTTP/1.1 to one server: a request, its answer, and the next request on the same connection.

A router makes as many calls as an index has shards for every search. A general client costs half a millisecond a call,
more than a shard's whole work; this one parses with the parser of the server, calls back, and does nothing else: no
task, no future and no timer a request. There is no TLS, no redirect, no compression and no pipelining.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NamedTuple, cast

import httptools

OPEN_S = 2.0  # to connect; a machine that does not answer by then is taken for gone


class Reply(NamedTuple):
    status: int
    content: bytes


class Unanswered(Exception):  # noqa: N818 - it is not always an error
    """The other end was not reached, or went away before it had answered."""


class ShardConnection(asyncio.Protocol):
    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._ended: Callable[[Reply | Unanswered], None] | None = None
        self._content: list[bytes] = []
        self._reply: Reply | None = None
        self._kept = True  # the connection, after that reply
        self.asked = 0  # requests so far

    @classmethod
    async def open(cls, host: str, port: int) -> ShardConnection:
        """Raises Unanswered."""
        loop = asyncio.get_running_loop()
        try:
            _, made = await asyncio.wait_for(loop.create_connection(cls, host, port), OPEN_S)
        except (OSError, TimeoutError, UnicodeError) as error:
            raise Unanswered(f"{host}:{port} cannot be reached ({error or 'no answer'})") from None
        return made

    @property
    def usable(self) -> bool:
        """Whether it is open and nobody waits for an answer on it."""
        return self._transport is not None and self._ended is None

    def send(self, request: bytes, ended: Callable[[Reply | Unanswered], None]) -> None:
        """Sends a whole request, head and body, on a connection that is usable.

        Args:
            ended: called once and later, with what became of the request; never after `close`.
        """
        assert self._transport is not None
        self.asked += 1
        self._ended = ended
        self._transport.write(request)

    def close(self) -> None:
        """The server sees that nobody waits for its answer any more."""
        self._ended = None
        if self._transport is not None:
            self._transport.abort()
            self._transport = None

    def _failed(self, why: str) -> None:
        ended = self._ended
        self.close()
        if ended is not None:
            ended(Unanswered(why))

    # --- as asyncio calls it ----------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._failed(f"what answers is no HTTP server ({error})")
            return
        if self._reply is not None:
            reply, self._reply = self._reply, None
            ended, self._ended = self._ended, None
            if not self._kept:
                self.close()
            if ended is not None:
                ended(reply)

    def connection_lost(self, error: Exception | None) -> None:
        self._failed(f"the connection was closed ({error})" if error else "the connection was closed")

    # --- as the parser calls it -------------------------------------------------------------------------------------

    def on_body(self, body: bytes) -> None:
        self._content.append(body)

    def on_message_complete(self) -> None:
        content, self._content = self._content, []
        status = self._parser.get_status_code()
        if status >= 200:  # what comes before is no answer yet
            self._kept = self._parser.should_keep_alive()
            self._reply = Reply(status, content[0] if len(content) == 1 else b"".join(content))
