"""Several workers behind one port: connections spread evenly, one set of numbers, one generation, no single death."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvloop
from patience import LONG, burden, patient
from serving import NotStarted, Server, build_docs, serving

from index import Root
from service.access import keys
from service.processes.channel import AT_ONCE, Channel

pytest_plugins = ["serving_fixtures"]

SEARCH = "/v1/indexes/docs/search"
QUERY = {"id": "a01"}
LONG_S = patient(60)


@contextmanager
def workers(root: Path, tmp_path: Path, *arguments: str, count: int = 2) -> Iterator[Server]:
    with serving(root, tmp_path, "--workers", str(count), "--drain", "0.2", *arguments) as server:
        yield server


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def eventually(what: Any) -> None:
    limit_s = time.monotonic() + LONG_S
    while not what():
        assert time.monotonic() < limit_s
        time.sleep(0.05)


def sockets_of(pid: int, port: int) -> int:
    """Established connections of the process at `port`."""
    own = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found = re.fullmatch(r"socket:\[(\d+)\]", str(descriptor.readlink()))
        except FileNotFoundError:
            continue
        if found:
            own.add(found[1])
    count = 0
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        count += fields[3] == "01" and int(fields[1].split(":")[1], 16) == port and fields[9] in own
    return count


def clients(server: Server, count: int, stack: ExitStack) -> list[httpx.Client]:
    """With a connection each, open."""
    made = [stack.enter_context(server.client()) for _ in range(count)]
    for each in made:
        assert each.post(SEARCH, json=QUERY).status_code == 200
    return made


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
                "perwatt_encode_batch_texts_count 4.0",
                "perwatt_workers 2.0",
                'perwatt_process_cpu_seconds_total{worker="1"}',
                'perwatt_vectors{index="docs"} 22.0',
            ):
                assert line in text, line


def test_a_worker_that_dies_is_replaced_and_the_numbers_go_on(root: Path, tmp_path: Path) -> None:
    with workers(root, tmp_path) as server, ExitStack() as stack:
        clients(server, 6, stack)
        dead, other = children(server.process.pid)
        os.kill(dead, signal.SIGKILL)
        server.wait_for_log("ended with signal SIGKILL")
        with server.client() as client:  # the other one answers meanwhile
            assert client.post(SEARCH, json=QUERY).status_code == 200
        server.wait_for_log("is ready")
        now = children(server.process.pid)
        assert len(now) == 2
        assert other in now
        assert dead not in now
        clients(server, 8, stack)
        port = int(server.url.rsplit(":", 1)[1])
        new = next(pid for pid in now if pid != other)
        assert sockets_of(new, port) > 0
        with server.client() as client:
            assert 'perwatt_requests_total{operation="search",status="200"} 15.0' in client.get("/metrics").text


def asking(server: Server, path: str = "/livez") -> socket.socket:
    """A new connection that has asked for `path`."""
    made = socket.create_connection(("127.0.0.1", int(server.url.rsplit(":", 1)[1])), LONG_S)
    made.sendall(f"GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n".encode())
    return made


def answer(connection: socket.socket) -> tuple[int, dict[str, str], bytes]:
    """All that comes until the connection is ended, which it is at once."""
    with connection:
        had = b""
        while got := connection.recv(65536):
            had += got
    head, _, body = had.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    return int(lines[0].split()[1]), dict(line.split(": ", 1) for line in lines[1:]), body


def served_or_told(connections: list[socket.socket]) -> bool:
    """Whether none was dropped. On a slow machine it takes longer to replace a worker than callers are let wait."""
    return {answer(each)[0] for each in connections} <= {200, 503}


def test_who_comes_while_all_workers_are_dead_waits_for_the_next_ones(root: Path, tmp_path: Path) -> None:
    with workers(root, tmp_path) as server:
        for _ in range(2):
            for pid in children(server.process.pid):
                os.kill(pid, signal.SIGKILL)
            assert served_or_told([asking(server) for _ in range(300)])
            eventually(lambda: server.log().count("is ready") % 2 == 0)


def test_what_a_worker_was_given_and_did_not_take_goes_to_another(root: Path, tmp_path: Path) -> None:
    with workers(root, tmp_path) as server:
        pids = children(server.process.pid)
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        made = [asking(server) for _ in range(20)]
        time.sleep(0.3)  # the parent gives them away meanwhile; if it did not, the others would have them all the same
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        assert served_or_told(made)
        port = int(server.url.rsplit(":", 1)[1])
        assert sockets_of(server.process.pid, port) == 0


def test_more_than_the_workers_can_take_in_waits_and_is_not_lost(root: Path, tmp_path: Path) -> None:
    """A channel has room for some three hundred connections."""
    with workers(root, tmp_path) as server:
        pids = children(server.process.pid)
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        made = [asking(server) for _ in range(1200)]
        time.sleep(0.3)
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
        assert [answer(each)[0] for each in made] == [200] * 1200


def test_where_no_worker_comes_callers_are_told_so(own_root: Path, tmp_path: Path) -> None:
    """The index is damaged, so that no new worker can start; it is mended, and they do."""
    file = Root(own_root).path("docs") / "ids.arrow"
    good = file.read_bytes()
    with workers(own_root, tmp_path) as server:
        file.unlink()  # what is mapped stays as it is
        file.write_bytes(b"damaged")
        for pid in children(server.process.pid):
            os.kill(pid, signal.SIGKILL)
        for path in ("/livez", "/v1/indexes/docs", "/"):
            status, headers, body = answer(asking(server, path))
            assert status == 503
            assert int(headers["retry-after"]) >= 1
            assert headers["connection"] == "close"
            assert json.loads(body)["code"] == "not-ready"
        with server.client() as client:  # and with a body, which it does not read and does not choke on
            assert client.post(SEARCH, json={"text": "word " * 100_000}).status_code == 503
        file.unlink()
        file.write_bytes(good)
        eventually(lambda: answer(asking(server))[0] == 200)


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
    slow = {"queries": [{"text": f"{number} " + LONG} for number in range(burden(12))], "timeout_ms": 60_000}
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


def test_workers_end_when_their_parent_is_gone(root: Path, tmp_path: Path) -> None:
    with workers(root, tmp_path) as server:
        pids = children(server.process.pid)
        server.process.kill()
        server.process.wait()
        eventually(lambda: not any(_alive(pid) for pid in pids))


def _alive(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def test_what_cannot_be_loaded_is_said_once(own_root: Path, tmp_path: Path) -> None:
    file = Root(own_root).path("docs") / "ids.arrow"
    content = bytearray(file.read_bytes())
    content[-100] ^= 8
    file.write_bytes(content)
    with pytest.raises(NotStarted) as caught, workers(own_root, tmp_path, count=4):
        pass
    assert caught.value.status == 1
    assert caught.value.log.count("perwatt: error:") == 1
    assert "Traceback" not in caught.value.log


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
