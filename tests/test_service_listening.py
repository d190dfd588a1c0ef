"""A port is one server's, and what answers in several writes does not wait for the caller's delayed acknowledgement."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from serving import NotStarted, Server

from loadtest.generator.ports import LOWEST, free_port
from loadtest.targets import sql_bridge
from service.errors import SettingsError
from service.processes import listening as port_of
from service.processes.listening import bind

pytest_plugins = ["serving_fixtures"]


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


def test_of_two_that_are_bound_to_a_port_one_listens() -> None:
    with bind("127.0.0.1", 0) as first, bind("127.0.0.1", first.getsockname()[1]) as second:
        port_of.listen(first)
        with pytest.raises(SettingsError, match=rf"127.0.0.1 port {first.getsockname()[1]} \(Address already in use\)"):
            port_of.listen(second)


@pytest.mark.parametrize("count", [1, 2])
def test_two_servers_that_load_at_once_are_not_both_served_on_a_port(root: Path, tmp_path: Path, count: int) -> None:
    port = str(free_port())

    def start(number: int) -> Server | NotStarted:
        try:
            log = tmp_path / f"{number}.log"
            return Server(root, "--port", port, *(["--workers", "2"] if count > 1 else []), log_file=log)
        except NotStarted as error:
            return error

    with ThreadPoolExecutor(2) as threads:
        both = list(threads.map(start, range(2)))
    for each in both:
        if isinstance(each, Server):
            each.end(signal.SIGINT)
    [refused] = [each for each in both if isinstance(each, NotStarted)]
    assert f"port {port} (Address already in use)" in refused.log
    assert "Traceback" not in refused.log


def test_a_free_port_is_none_that_the_kernel_hands_out() -> None:
    first, last = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    found = [free_port() for _ in range(20)]
    assert len(set(found)) > 1
    if first > 2 * LOWEST:
        assert not any(first <= port <= last for port in found)
