"""More callers than there are places: the longest idle go first, the rest are refused in time, a good one is served."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
import uvloop
from hostile_callers import HEAD, LONG_S, PATH, dial, good
from patience import LONG, burden, patient
from serving import serving

from service.http.watch import CLOSED, PARK_ABOVE, SLICE, WOKEN, Watch

pytest_plugins = ["serving_fixtures"]


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
        self.closes, self.looks, self.closed, self.looked = closes, looks, False, False
        self.since_s, self.idle, self.descriptor = since_s, True, 0  # and parked
        self.watch, self.transport = watch, self
        watch.open[self] = None  # type: ignore[index]

    def look(self, now_s: float) -> None:
        self.looks.append(now_s)
        self.looked = True
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
    assert all(one.looked for one in every)
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
    slow = {"queries": [{"text": f"{number} " + LONG} for number in range(burden(8))], "timeout_ms": 60_000}
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
    slow = {"queries": [{"text": f"{number} " + LONG} for number in range(burden(6))], "timeout_ms": 60_000}
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
    slow = {"queries": [{"text": f"{number} " + LONG} for number in range(burden(6))], "timeout_ms": 60_000}
    with serving(root, tmp_path, "--concurrency", "1") as server, ThreadPoolExecutor(4) as pool:

        def ask() -> httpx.Response:
            with server.client() as client:
                return client.post(f"{PATH}/batch", json=slow, timeout=patient(120))

        asking = [pool.submit(ask) for _ in range(4)]
        with server.client() as client:
            limit_s = time.monotonic() + LONG_S
            while True:
                hurried = client.post(PATH, json={"id": "a01", "timeout_ms": 30})
                if hurried.status_code == 503:
                    break
                assert hurried.status_code in (200, 504)
                assert time.monotonic() < limit_s
                asking = [one for one in asking if not one.done()]
                asking += [pool.submit(ask) for _ in range(4 - len(asking))]
        assert hurried.json()["code"] == "overloaded"
        assert {one.result(patient(120)).status_code for one in asking} <= {200, 503}
