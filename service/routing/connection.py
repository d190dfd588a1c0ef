"""HTTP/1.1 to one server: a request, its answer, and the next request on the same connection.

A router makes as many calls as an index has shards for every search. A general client costs half a millisecond a call,
more than a shard's whole work; this one parses with the parser of the server and does nothing else. There is no TLS, no
redirect, no compression and no pipelining.
"""

from __future__ import annotations

import asyncio
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
        self._waiting: asyncio.Future[Reply] | None = None
        self._content: list[bytes] = []
        self.asked = 0  # requests so far

    @classmethod
    async def open(cls, host: str, port: int) -> ShardConnection:
        """Raises Unanswered."""
        loop = asyncio.get_running_loop()
        try:
            _, made = await asyncio.wait_for(loop.create_connection(cls, host, port), OPEN_S)
        except (OSError, TimeoutError) as error:
            raise Unanswered(f"{host}:{port} cannot be reached ({error or 'no answer'})") from None
        return made

    @property
    def usable(self) -> bool:
        return self._transport is not None and self._waiting is None

    def send(self, request: bytes) -> asyncio.Future[Reply]:
        """The answer to a whole request, head and body. Cancelling it closes the connection, which the server sees.

        The future has Unanswered where the connection is lost.
        """
        waiting: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        if self._transport is None:
            waiting.set_exception(Unanswered("the connection was closed"))
            return waiting
        self.asked += 1
        self._waiting = waiting
        waiting.add_done_callback(self._ended)
        self._transport.write(request)
        return waiting

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()
            self._transport = None

    def _ended(self, waiting: asyncio.Future[Reply]) -> None:
        if waiting.cancelled():
            self._waiting = None
            self.close()

    def _failed(self, why: str) -> None:
        waiting, self._waiting = self._waiting, None
        self.close()
        if waiting is not None and not waiting.done():
            waiting.set_exception(Unanswered(why))

    # --- as asyncio calls it ----------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._failed(f"what answers is no HTTP server ({error})")

    def connection_lost(self, error: Exception | None) -> None:
        self._failed(f"the connection was closed ({error})" if error else "the connection was closed")

    # --- as the parser calls it -------------------------------------------------------------------------------------

    def on_body(self, body: bytes) -> None:
        self._content.append(body)

    def on_message_complete(self) -> None:
        content, self._content = b"".join(self._content), []
        waiting, self._waiting = self._waiting, None
        status, kept = self._parser.get_status_code(), self._parser.should_keep_alive()
        if waiting is not None and not waiting.done() and status >= 200:
            waiting.set_result(Reply(status, content))
        if not kept:
            self.close()
