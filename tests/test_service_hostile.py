"""Callers who are slow on purpose, too many, or ask for more than there is: each is shown out, and a good one is
served.

How little the good one notices is measured by `make test-hostile` and `make test-overload`, with times; here is what
must happen at all.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
import uvloop
from patience import LONG, burden, patient
from serving import Server, serving

from service.http.watch import CLOSED, PARK_ABOVE, SLICE, WOKEN, Watch

pytest_plugins = ["serving_fixtures"]

PATH = "/v1/indexes/docs/search"
HEAD = f"POST {PATH} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
LONG_S = patient(60)


@pytest.fixture(scope="module")
def strict(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with a second's patience."""
    with serving(root, tmp_path_factory.mktemp("strict"), "--client-timeout", "1") as server:
        yield server


def dial(server: Server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", int(server.url.rsplit(":", 1)[1])), LONG_S)


def dribble(connection: socket.socket, piece: bytes, every_s: float = 0.2) -> bytes:
    """Sends `piece` again and again until the server has had enough; what it answered."""
    connection.settimeout(every_s)
    limit_s = time.monotonic() + LONG_S
    answer = b""
    while time.monotonic() < limit_s:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(piece)
        try:
            got = connection.recv(65536)
        except TimeoutError:
            continue
        except ConnectionResetError:
            return answer
        if not got:
            return answer
        answer += got
    raise AssertionError("the server never lost its patience")


def problem_of(answer: bytes, status: int) -> str:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {status} ".encode()), answer[:100]
    assert b"connection: close" in head
    return str(json.loads(body)["code"])


def good(server: Server) -> None:
    with server.client() as client:
        assert client.post(PATH, json={"id": "a01"}).status_code == 200


def test_a_head_that_dribbles_in_is_408(strict: Server) -> None:
    with dial(strict) as connection:
        connection.sendall(HEAD.encode())
        assert problem_of(dribble(connection, b"x: y\r\n"), 408) == "deadline-exceeded"
    good(strict)


@pytest.mark.parametrize("odd", ["", "content-encoding: identity\r\n"], ids=["fast path", "general"])
def test_a_body_that_dribbles_in_is_408(strict: Server, odd: str) -> None:
    with dial(strict) as connection:
        connection.sendall(f"{HEAD}{odd}content-length: 100000\r\n\r\n".encode())
        assert problem_of(dribble(connection, b" "), 408) == "deadline-exceeded"
    good(strict)


def test_chunks_that_dribble_in_are_408(strict: Server) -> None:
    with dial(strict) as connection:
        connection.sendall(f"{HEAD}transfer-encoding: chunked\r\n\r\n".encode())
        assert problem_of(dribble(connection, b"1\r\n \r\n"), 408) == "deadline-exceeded"


def test_a_body_on_a_slow_line_is_read(strict: Server) -> None:
    """Three seconds for a body, three times the patience, but at a rate that a poor line has."""
    body = json.dumps({"id": "a01"}).ljust(120_000).encode()
    with dial(strict) as connection:
        connection.sendall(f"{HEAD}content-length: {len(body)}\r\n\r\n".encode())
        for start in range(0, len(body), 4000):
            connection.sendall(body[start : start + 4000])
            time.sleep(0.1)
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")


def test_who_asks_nothing_is_shown_out(strict: Server) -> None:
    with dial(strict) as connection:
        assert connection.recv(1) == b""
    good(strict)


def test_who_has_asked_may_stay(strict: Server) -> None:
    with httpx.Client(base_url=strict.url, limits=httpx.Limits(max_connections=1)) as client:
        assert client.post(PATH, json={"id": "a01"}).status_code == 200
        sockets = client._transport._pool.connections  # type: ignore[attr-defined]
        before = list(sockets)
        time.sleep(3)
        assert client.post(PATH, json={"id": "a01"}).status_code == 200
        assert list(sockets) == before


def test_who_does_not_take_its_answers_is_dropped_and_fills_no_memory(strict: Server) -> None:
    """Requests without end, of which no answer is read: no more are read from it, and then it is dropped."""
    body = json.dumps({"id": "a01", "k": 20}).encode()
    request = f"{HEAD}content-length: {len(body)}\r\n\r\n".encode() + body
    before = _memory(strict)
    with dial(strict) as connection:
        connection.settimeout(0.2)
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            _send_for_ever(connection, request * 100)
    assert _memory(strict) - before < 64 << 20
    good(strict)


def _send_for_ever(connection: socket.socket, what: bytes) -> None:
    limit_s, at = time.monotonic() + LONG_S, 0
    while time.monotonic() < limit_s:
        with contextlib.suppress(TimeoutError):
            at = (at + connection.send(what[at:])) % len(what)


def _memory(server: Server) -> int:
    for line in Path(f"/proc/{server.process.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmRSS")


@pytest.mark.parametrize(
    "head",
    [
        HEAD + "x: " + "y" * 40_000 + "\r\n\r\n",
        HEAD + "".join(f"x{number}: y\r\n" for number in range(8000)) + "\r\n",
        f"GET /{'a' * 40_000} HTTP/1.1\r\nhost: localhost\r\n\r\n",
        HEAD + "x: " + "y" * 40_000,  # and no end
    ],
    ids=["a long header", "many headers", "a long path", "no end"],
)
def test_a_head_beyond_all_measure_is_431(strict: Server, head: str) -> None:
    with dial(strict) as connection:
        connection.sendall(head.encode())
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            while chunk := connection.recv(65536):
                answer += chunk
        assert problem_of(answer, 431) == "invalid-value"
    good(strict)


def test_the_longest_idle_make_room_for_who_comes(root: Path, tmp_path: Path) -> None:
    with serving(root, tmp_path, "--connections", "40") as server, contextlib.ExitStack() as stack:
        with server.client() as working:
            idle = [stack.enter_context(dial(server)) for _ in range(120)]
            for _ in range(5):
                assert working.post(PATH, json={"id": "a01"}).status_code == 200
            good(server)
        dropped = 0
        for connection in idle:
            connection.settimeout(0.05)
            try:
                dropped += connection.recv(1) == b""
            except TimeoutError:
                pass
            except ConnectionResetError:
                dropped += 1
        assert dropped >= 80
        connection = idle[-1]
        connection.sendall(f"{HEAD}content-length: 13\r\n\r\n".encode() + b'{"id": "a01"}')
        connection.settimeout(LONG_S)
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")


class Idle:
    """Stands for an open connection in a `Watch`, and takes down in which go it was looked at."""

    def __init__(self, watch: Watch, closes: bool, looks: list[float], since_s: float = 0.0) -> None:
        self.closes, self.looks, self.closed = closes, looks, False
        self.since_s, self.idle, self.descriptor = since_s, True, 0  # and parked
        self.watch, self.transport = watch, self
        watch.open[self] = None  # type: ignore[index]

    def look(self, now_s: float) -> None:
        self.looks.append(now_s)
        if self.closes:
            self.closed = True
            del self.watch.open[self]  # type: ignore[arg-type]

    def is_closing(self) -> bool:
        return self.closed

    def abort(self) -> None:
        """As with a socket, the end of it is noticed later."""
        self.closed = True


class Sleeper:
    """Stands for an idle connection, with a socket of its own that the loop does not read."""

    def __init__(self, watch: Watch, woken: Counter[int], turn: list[int], sock: socket.socket) -> None:
        self.woken, self.turn, self.sock = woken, turn, sock
        self.since_s, self.idle, self.descriptor, self.read_paused = 0.0, True, -1, False
        self.transport, self.flow = self, self
        watch.opened(self)  # type: ignore[arg-type]

    def look(self, now_s: float) -> None:
        """Always worth keeping."""

    def get_extra_info(self, _: str) -> socket.socket:
        return self.sock

    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None:
        assert self.descriptor >= 0

    def resume_reading(self) -> None:
        self.woken[self.turn[0]] += 1


@pytest.mark.parametrize("of_a_sudden", [True, False])
def test_those_that_end_at_once_are_told_of_a_few_at_a_time(of_a_sudden: bool) -> None:
    """Parked when there are many, as they come or when they have been idle for a while."""
    watch, woken, turn = Watch(20_000, 10.0, lambda: None), Counter[int](), [0]
    pairs = [socket.socketpair() for _ in range(PARK_ABOVE + 300)]

    async def count() -> None:
        while True:
            turn[0] += 1
            await asyncio.sleep(0)

    async def for_a_while() -> None:
        counting = asyncio.get_running_loop().create_task(count())
        watch.start()
        every = [Sleeper(watch, woken, turn, ours) for ours, _ in pairs]
        limit_s = time.monotonic() + LONG_S
        expected = 300 if of_a_sudden else len(every)
        while sum(each.descriptor >= 0 for each in every) < expected:
            await asyncio.sleep(0 if of_a_sudden else 0.05)
            assert time.monotonic() < limit_s
        for _, theirs in pairs:
            theirs.close()
        while woken.total() < expected:
            await asyncio.sleep(0.01)
            assert time.monotonic() < limit_s
        for each in every:
            watch.ended(each)  # type: ignore[arg-type]
        counting.cancel()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(for_a_while())
    for ours, _ in pairs:
        ours.close()
    assert max(woken.values()) == WOKEN
    assert not watch.open


@pytest.mark.parametrize(("closes", "most", "count"), [(False, SLICE, 1250), (True, CLOSED, 250)])
def test_no_request_waits_for_all_connections_to_be_looked_at(closes: bool, most: int, count: int) -> None:
    watch = Watch(20_000, 10.0, lambda: None)
    looks: list[float] = []
    every = [Idle(watch, closes, looks) for _ in range(count)]

    async def for_a_while() -> None:
        watch.start()
        limit_s = time.monotonic() + LONG_S
        while len(looks) < count and time.monotonic() < limit_s:
            await asyncio.sleep(0.05)

    asyncio.run(for_a_while())
    assert len(looks) == count
    assert all(one.closed == closes for one in every)
    assert max(Counter(looks).values()) <= most


def test_whoever_comes_in_one_go_makes_as_many_go_the_longest_idle_first() -> None:
    watch = Watch(5, 10.0, lambda: None)
    every = [Idle(watch, False, [], since_s) for since_s in (3.0, 1.0, 4.0, 2.0, 0.0, 5.0)]
    watch.make_room()
    every[1].since_s = 6.0  # it has asked something meanwhile
    every[3].idle = False
    for _ in range(3):
        watch.make_room()
    assert [one.since_s for one in every if one.closed] == [3.0, 4.0, 0.0, 5.0]
    watch.make_room()
    assert [one.since_s for one in every if not one.closed] == [2.0]


def test_more_than_can_be_done_is_refused_in_time_and_the_rest_is_done(root: Path, tmp_path: Path) -> None:
    slow = {"queries": [{"text": f"{number} " + LONG} for number in range(burden(16))], "timeout_ms": 60_000}
    with serving(root, tmp_path, "--concurrency", "1", "--queue", "3") as server:

        def ask(_: int) -> httpx.Response:
            with server.client() as client:
                return client.post(f"{PATH}/batch", json=slow, timeout=patient(120))

        with ThreadPoolExecutor(12) as pool:
            answers = list(pool.map(ask, range(12)))
        statuses = [answer.status_code for answer in answers]
        assert set(statuses) == {200, 503}
        assert statuses.count(200) >= 4  # one at work and three in line
        for answer in answers:
            if answer.status_code == 503:
                assert answer.json()["code"] == "overloaded"
                assert int(answer.headers["retry-after"]) >= 1
        good(server)
        with server.client() as client:
            text = client.get("/metrics").text
        assert f"perwatt_shed_total {float(statuses.count(503))}" in text


def test_who_comes_to_a_full_line_is_refused_unread(root: Path, tmp_path: Path) -> None:
    """So a refusal costs less than reading what is refused: a body that is no JSON is not even noticed."""
    slow = {"queries": [{"text": f"{number} " + LONG} for number in range(burden(12))], "timeout_ms": 60_000}
    with serving(root, tmp_path, "--concurrency", "1", "--queue", "1") as server, ThreadPoolExecutor(4) as pool:

        def ask() -> None:
            with server.client() as client:
                client.post(f"{PATH}/batch", json=slow, timeout=patient(120))

        with server.client() as client:
            limit_s = time.monotonic() + LONG_S
            asking: list[Future[None]] = []
            while True:
                asking = [one for one in asking if not one.done()]
                asking += [pool.submit(ask) for _ in range(4 - len(asking))]
                unread = client.post(PATH, content=b"[", headers={"content-type": "application/json"})
                if unread.status_code == 503:
                    break
                assert unread.status_code == 422
                assert time.monotonic() < limit_s
        assert unread.json()["code"] == "overloaded"


def test_who_would_wait_in_vain_is_told_at_once(root: Path, tmp_path: Path) -> None:
    """Once the line is known to be slow, a request with little time is not let into it."""
    slow = {"queries": [{"text": f"{number} " + LONG} for number in range(burden(12))], "timeout_ms": 60_000}
    with serving(root, tmp_path, "--concurrency", "1") as server, ThreadPoolExecutor(8) as pool:

        def ask() -> httpx.Response:
            with server.client() as client:
                return client.post(f"{PATH}/batch", json=slow, timeout=patient(120))

        asking = [pool.submit(ask) for _ in range(8)]
        with server.client() as client:
            limit_s = time.monotonic() + LONG_S
            while True:
                hurried = client.post(PATH, json={"id": "a01", "timeout_ms": 30})
                if hurried.status_code == 503:
                    break
                assert hurried.status_code in (200, 504)
                assert time.monotonic() < limit_s
        assert hurried.json()["code"] == "overloaded"
        assert {one.result(120).status_code for one in asking} == {200}
