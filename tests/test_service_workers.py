"""Several workers behind one port: connections spread evenly, one set of numbers, one generation."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import socket
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvloop
from patience import LONG, burden, patient
from serving import NotStarted, build_docs
from worker_processes import LONG_S, QUERY, SEARCH, children, clients, eventually, sockets_of, workers

from index import Root
from service.access import keys
from service.processes.channel import AT_ONCE, Channel

pytest_plugins = ["serving_fixtures"]


def test_connections_are_spread_evenly_and_evened_out_again(root: Path, tmp_path: Path) -> None:
    with workers(root, tmp_path, count=3) as server, ExitStack() as stack:
        port = int(server.url.rsplit(":", 1)[1])
        pids = children(server.process.pid)
        assert len(pids) == 3
        open_ = clients(server, 9, stack)
        assert [sockets_of(pid, port) for pid in pids] == [3, 3, 3]
        for each in open_[:7]:
            each.close()
        eventually(lambda: sum(sockets_of(pid, port) for pid in pids) == 2)
        clients(server, 7, stack)
        eventually(lambda: [sockets_of(pid, port) for pid in pids] == [3, 3, 3])


def test_any_worker_tells_the_numbers_of_all(root: Path, tmp_path: Path) -> None:
    with workers(root, tmp_path) as server, ExitStack() as stack:
        made = clients(server, 4, stack)
        for each in made:
            each.post(SEARCH, json={"text": "volcano"})
        for each in made:
            text = each.get("/metrics").text
            for line in (
                'perwatt_requests_total{operation="search",status="200"} 8.0',
                'perwatt_stage_seconds_count{stage="embed"} 4.0',
                "perwatt_encode_batch_texts_count 1.0",
                "perwatt_query_cache_hits_total 3.0",
                "perwatt_workers 2.0",
                'perwatt_process_cpu_seconds_total{worker="1"}',
                'perwatt_vectors{index="docs"} 22.0',
            ):
                assert line in text, line


def test_a_switch_by_one_worker_is_followed_by_all_before_it_is_answered(
    own_root: Path, tmp_path: Path, served_encoder: Any
) -> None:
    second = build_docs(own_root, served_encoder, drop=2, switch=False).name
    with workers(own_root, tmp_path, count=3) as server, ExitStack() as stack:
        made = clients(server, 6, stack)
        first = Root(own_root).alias("docs").generation
        for generation in (second, first, second):
            assert made[0].put("/v1/aliases/docs", json={"generation": generation}).status_code == 200
            assert {each.post(SEARCH, json=QUERY).json()["generation"] for each in made} == {generation}
        assert made[1].post("/v1/aliases/docs/rollback").status_code == 200
        assert {each.post(SEARCH, json=QUERY).json()["generation"] for each in made} == {first}


def test_sighup_and_keys_reach_every_worker(own_root: Path, tmp_path: Path, served_encoder: Any) -> None:
    path = tmp_path / "keys.json"
    with keys.changing(path) as held:
        first = keys.add(held, keys.Key("first", 0, "search", []), None)
    with workers(own_root, tmp_path, "--keys", str(path)) as server, ExitStack() as stack:
        made = [stack.enter_context(server.client()) for _ in range(4)]

        def answers(token: str) -> list[Any]:
            headers = {"authorization": f"Bearer {token}"}
            return [each.post(SEARCH, json=QUERY, headers=headers).json().get("generation") for each in made]

        assert len(set(answers(first))) == 1
        second = build_docs(own_root, served_encoder, drop=2).name
        with keys.changing(path) as held:
            token = keys.add(held, keys.Key("second", 0, "search", []), None)
        server.process.send_signal(signal.SIGHUP)
        eventually(lambda: answers(token) == [second] * 4)


def test_a_quota_is_one_for_all_workers(root: Path, tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    with keys.changing(path) as held:
        token = keys.add(held, keys.Key("small", 0, "search", [], rate_per_s=0.001, burst=10), None)
    with workers(root, tmp_path, "--keys", str(path)) as server, ExitStack() as stack:
        made = [stack.enter_context(server.client()) for _ in range(4)]
        headers = {"authorization": f"Bearer {token}"}
        statuses = [made[turn % 4].post(SEARCH, json=QUERY, headers=headers).status_code for turn in range(16)]
        assert statuses == [200] * 10 + [429] * 6


def test_sigterm_finishes_what_every_worker_has_in_flight(root: Path, tmp_path: Path) -> None:
    slow = {"queries": [{"text": f"{number} " + LONG} for number in range(burden(24))], "timeout_ms": 60_000}
    with workers(root, tmp_path, "--grace", "120") as server, ThreadPoolExecutor(4) as pool, ExitStack() as stack:
        made = clients(server, 4, stack)
        asking = [pool.submit(each.post, f"{SEARCH}/batch", json=slow, timeout=patient(120)) for each in made]
        with server.client() as client:
            eventually(lambda: _working(client) >= 3)
        server.process.send_signal(signal.SIGTERM)
        assert [one.result(120).status_code for one in asking] == [200] * 4
        assert server.process.wait(patient(60)) == 0
        assert "Traceback" not in server.log()


def _working(client: httpx.Client) -> float:
    found = re.search(r"^perwatt_requests_working (\S+)", client.get("/metrics").text, re.MULTILINE)
    assert found
    return float(found[1])


def test_the_index_is_in_memory_once(tmp_path: Path) -> None:
    """PSS shares a page among those who map it: over all workers the files of the index count once."""
    import numpy as np

    from index import build_generation

    vectors = np.random.default_rng(1).standard_normal((20_000, 256), np.float32)
    path = build_generation(vectors, list(range(20_000)), root=tmp_path / "root", name="big", family="flat")
    with workers(tmp_path / "root", tmp_path, count=3) as server:
        with ExitStack() as stack:
            for each in [stack.enter_context(server.client()) for _ in range(6)]:
                answer = each.post("/v1/indexes/big/search", json={"id": "7", "params": {"exact": True}})
                assert answer.status_code == 200
        mapped = sum(file.stat().st_size for file in path.iterdir())
        shared = sum(_mapped_pss(pid, path) for pid in children(server.process.pid))
    assert 0 < shared <= 1.05 * mapped


def _mapped_pss(pid: int, folder: Path) -> int:
    """Bytes of PSS that a process has in the files of `folder`."""
    total, ours = 0, False
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            ours = str(folder) in line
        elif ours and line.startswith("Pss:"):
            total += int(line.split()[1]) * 1024
    return total


def test_a_port_in_use_is_said_by_the_parent(root: Path, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(NotStarted) as caught, workers(root, tmp_path, "--port", str(taken.getsockname()[1])):
            pass
    assert "Address already in use" in caught.value.log


def test_a_worker_takes_a_few_connections_in_a_turn() -> None:
    """So that the requests it has do not wait for all of ten thousand that come at once; and it says what it has."""
    theirs, ours = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with socket.create_server(("127.0.0.1", 0), backlog=100) as listening:
        pairs = [(socket.create_connection(listening.getsockname()), listening.accept()[0]) for _ in range(100)]
    for _, end in pairs:
        socket.send_fds(ours, [b"c"], [end.fileno()])
    turns: list[int] = []
    turn = 0

    opened: list[asyncio.BaseTransport] = []

    class Taken(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            opened.append(transport)

    def make() -> asyncio.Protocol:
        turns.append(turn)
        return Taken()

    async def follow(_: str) -> None:
        """Nothing does."""

    async def until_all_are_taken() -> None:
        nonlocal turn
        channel = Channel(theirs, make, lambda: None, follow, lambda: None)
        limit_s = time.monotonic() + LONG_S
        while len(opened) < len(pairs):
            turn += 1
            await asyncio.sleep(0)
            assert time.monotonic() < limit_s
        channel.close()
        for transport in opened:
            transport.close()
        await asyncio.sleep(0.1)  # uvloop's loop does not close before they are

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(until_all_are_taken())
    assert max(Counter(turns).values()) == AT_ONCE
    said = []
    ours.setblocking(False)
    with suppress(BlockingIOError):
        while True:
            said.append(json.loads(ours.recv(4096))["taken"])
    assert said == [*range(AT_ONCE, len(pairs), AT_ONCE), len(pairs)]
    for end in (theirs, ours, *(end for pair in pairs for end in pair)):
        end.close()
