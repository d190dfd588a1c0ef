"""How a router asks one shard: over real connections to a small server, by calling back and without tasks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import uvloop

from service.routing.asking import LEAST_KNOWN, Asking, Hedges, ShardSilent
from service.routing.replica import Replica, ShardRequest
from service.routing.together import Looks, Together

GOOD = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ngood"
BAD = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 2\r\n\r\n{}"
SOON_S = 30.0


class Answering(asyncio.Protocol):
    """A connection to a server that answers as `says` of it: bytes, or None to say nothing."""

    def __init__(self, server: Spoken) -> None:
        self.server, self.asked = server, 0

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.server.connections.append(self)

    def data_received(self, data: bytes) -> None:
        self.asked += 1
        self.server.asked += 1
        said = self.server.says(self)
        if said is not None:
            self.transport.write(said)

    def connection_lost(self, error: Exception | None) -> None:
        self.server.gone.set()


class Spoken:
    """A server on a port of its own, of which a replica is `replica`."""

    def __init__(self) -> None:
        self.says: Callable[[Answering], bytes | None] = lambda connection: GOOD
        self.connections: list[Answering] = []
        self.asked, self.gone = 0, asyncio.Event()

    async def start(self) -> Spoken:
        loop = asyncio.get_running_loop()
        self.server = await loop.create_server(lambda: Answering(self), "127.0.0.1", 0)
        self.replica = Replica(f"http://127.0.0.1:{self.server.sockets[0].getsockname()[1]}", None)
        self.replica.up = True
        return self

    def end(self) -> None:
        self.server.close()
        self.replica.close()
        for connection in self.connections:
            connection.transport.abort()


class Asked:
    """What becomes of a request for a part, and of hedges and retries so far."""

    def __init__(self) -> None:
        self.hedged = self.retried = 0
        self.hedges = Hedges(self._hedge, self._retry)
        self.looks = Looks()

    def _hedge(self) -> None:
        self.hedged += 1

    def _retry(self) -> None:
        self.retried += 1

    async def ask(self, *servers: Spoken, seconds: float = SOON_S) -> Any:
        together, request = Together(self.looks), ShardRequest("POST", "/part", b"{}")
        now_s = time.perf_counter()
        replicas = [each.replica for each in servers]
        asking = Asking(replicas, self.hedges, request, now_s, now_s + seconds, together)
        await together.wait([asking])
        return asking.answer


def run(work: Callable[[list[Spoken]], Awaitable[None]], servers: int = 2) -> None:
    """On the loop that serves, beside so many servers."""

    async def body() -> None:
        started = [await Spoken().start() for _ in range(servers)]
        try:
            await asyncio.wait_for(work(started), 2 * SOON_S)
        finally:
            for each in started:
                each.end()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(body())


def test_a_request_over_an_open_connection_makes_no_task() -> None:
    async def work(servers: list[Spoken]) -> None:
        asked = Asked()
        made: list[Any] = []
        await asked.ask(servers[0])
        loop = asyncio.get_running_loop()

        def factory(loop: Any, work: Any, **more: Any) -> Any:
            made.append(work)
            return asyncio.Task(work, loop=loop, **more)

        loop.set_task_factory(factory)
        for _ in range(5):
            assert await asked.ask(servers[0]) == b"good"
        assert made == []
        assert (len(servers[0].connections), servers[0].connections[0].asked) == (1, 6)

    run(work, 1)


def test_a_connection_that_was_closed_while_it_was_idle_is_no_failure() -> None:
    async def work(servers: list[Spoken]) -> None:
        [server] = servers
        asked = Asked()
        server.says = lambda connection: GOOD if connection.asked == 1 else connection.transport.abort()
        for _ in range(4):
            assert await asked.ask(server) == b"good"
        assert (len(server.connections), asked.retried) == (4, 0)
        server.says = lambda connection: connection.transport.abort()
        answer = await asked.ask(server)  # a new connection is lost, too: nobody is there
        assert isinstance(answer, ShardSilent)
        assert not answer.late
        assert not server.replica.up
        assert server.replica.outstanding == 0

    run(work, 1)


def test_what_comes_before_an_answer_is_none_and_a_last_answer_is_one() -> None:
    async def work(servers: list[Spoken]) -> None:
        [server] = servers
        server.says = lambda connection: b"HTTP/1.1 103 Early Hints\r\n\r\n" + GOOD
        assert await Asked().ask(server) == b"good"
        server.says = lambda connection: GOOD.replace(b"\r\n", b"\r\nconnection: close\r\n", 1)
        assert await Asked().ask(server) == b"good"
        server.says = lambda connection: GOOD
        assert await Asked().ask(server) == b"good"
        assert len(server.connections) == 2
        server.says = lambda connection: b"SSH-2.0-OpenSSH\r\n"
        answer = await Asked().ask(server)
        assert "no HTTP server" in str(answer)

    run(work, 1)


def test_another_replica_answers_for_one_that_fails_or_goes_away() -> None:
    async def work(servers: list[Spoken]) -> None:
        for says in (lambda connection: BAD, lambda connection: connection.transport.abort()):
            asked = Asked()
            servers[0].says = says
            servers[0].asked = 0
            for _ in range(20):
                servers[0].replica.up = True
                assert await asked.ask(*servers) == b"good"
            assert servers[0].asked >= asked.retried > 0
        servers[1].says = servers[0].says
        assert "the connection was closed" in str(await asked.ask(*servers))

    run(work)


def test_a_replica_that_is_slow_is_given_up_for_one_that_is_not() -> None:
    async def work(servers: list[Spoken]) -> None:
        slow, quick = servers
        asked = Asked()
        for _ in range(LEAST_KNOWN):
            assert await asked.ask(quick) == b"good"
        assert await asked.ask(slow) == b"good"  # so that a connection is open, which the next request goes out on
        slow.says = lambda connection: None
        slow.replica.outstanding, quick.replica.outstanding = -1, 0  # it is chosen first
        assert await asked.ask(slow, quick) == b"good"
        assert (asked.hedged, slow.asked) == (1, 2)
        await slow.gone.wait()  # it sees that nobody waits for it any more
        assert slow.replica.outstanding == -1

    run(work)


def test_a_replica_that_another_had_to_answer_for_is_left_alone_until_it_answers() -> None:
    async def work(servers: list[Spoken]) -> None:
        slow, quick = servers
        asked = Asked()
        for _ in range(LEAST_KNOWN):
            assert await asked.ask(quick) == b"good"
        assert await asked.ask(slow) == b"good"  # so that a connection is open, which the next request goes out on
        slow.says = lambda connection: None
        slow.replica.outstanding = -1  # it is chosen first
        assert await asked.ask(slow, quick) == b"good"
        slow.replica.outstanding = 0
        assert (asked.hedged, slow.replica.lost) == (1, 1)
        asked.hedges.slowest.p95_s = SOON_S
        for _ in range(10):
            assert await asked.ask(slow, quick) == b"good"
        assert (asked.hedged, slow.asked) == (1, 2)
        slow.says = lambda connection: GOOD
        assert await asked.ask(slow) == b"good"
        assert slow.replica.lost == 0

    run(work)


def test_there_is_one_timer_for_all_searches(monkeypatch: pytest.MonkeyPatch) -> None:
    armed: list[float] = []
    arm = Looks._arm
    monkeypatch.setattr(Looks, "_arm", lambda self, at_s: (armed.append(at_s), arm(self, at_s)))

    async def work(servers: list[Spoken]) -> None:
        asked = Asked()
        await asyncio.gather(*(asked.ask(*servers[:1]) for _ in range(10)))
        for _ in range(10):
            await asked.ask(servers[0])
        assert len(armed) == 1
        servers[0].says = lambda connection: None
        patient = asyncio.ensure_future(asked.ask(servers[0], seconds=SOON_S / 2))
        await asyncio.sleep(0)
        hasty = await asked.ask(servers[0], seconds=0.05)
        assert hasty.late
        assert armed[2] < armed[1] < armed[0], "for one that is due before all others"
        assert armed[-1] == armed[1], "and then for those that are left"
        assert {*armed} == {*armed[:3]}
        patient.cancel()

    run(work, 1)


def test_waiting_for_a_replica_does_not_keep_the_loop_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop's timers count milliseconds, and answers take less: a timer of none would be due again and again."""
    woken: list[None] = []
    look = Looks._look
    monkeypatch.setattr(Looks, "_look", lambda self: (woken.append(None), look(self)))

    async def work(servers: list[Spoken]) -> None:
        asked = Asked()
        for _ in range(LEAST_KNOWN):
            await asked.ask(servers[0])
        asked.hedges.slowest.p95_s = 0.4e-3
        servers[0].says = servers[1].says = lambda connection: None
        late = await asked.ask(*servers, seconds=1.0)
        assert isinstance(late, ShardSilent)
        assert late.late
        assert asked.hedged == 1
        assert len(woken) < 10

    run(work)
