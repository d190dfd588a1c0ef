"""What answers in several writes must not wait for the caller's delayed acknowledgement between them."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import pytest

from loadtest.targets import sql_bridge
from service.processes.listening import bind


@pytest.mark.parametrize("listen", [bind, sql_bridge.listen])
def test_connections_taken_by_asyncio_send_at_once(listen: Callable[[str, int], socket.socket]) -> None:
    async def taken() -> int:
        told: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        async def told_how(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            told.set_result(writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

        with listen("127.0.0.1", 0) as listening:
            async with await asyncio.start_server(told_how, sock=listening):
                _, writer = await asyncio.open_connection(*listening.getsockname())
                found = await told
                writer.close()
        return found

    assert asyncio.run(taken()) != 0
