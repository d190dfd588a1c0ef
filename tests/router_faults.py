"""A router whose network to its shards is cut, loses packets, or is slow: `make test-faults`.

Every server has a network of its own, a namespace, and a pair of virtual cards joins it to the router's. So nothing
here is told of a fault by a closed connection: packets go out and nothing comes back.
"""

from __future__ import annotations

import asyncio
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from indexing import clustered, write_vectors_folder
from routing import Router
from serving import Server

from index import VectorsFolder
from index.build.sharded import build_sharded

DIM, COUNT, SHARDS, REPLICAS = 16, 400, 2, 2
DELAY_S = 0.2
QUERY = {"vector": clustered(1, DIM, seed=4)[0].tolist(), "k": 5, "params": {"exact": True}}


def run(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(words)}: {done.stderr}"


class Link:
    """The way from the router to one server. `card` is the router's end of it."""

    def __init__(self, number: int) -> None:
        self.namespace, self.card, self.address = f"shard{number}", f"to{number}", f"10.77.{number}.2"
        self.inside = ("ip", "netns", "exec", self.namespace)
        run("ip", "netns", "add", self.namespace)
        run("ip", "link", "add", self.card, "type", "veth", "peer", "name", "eth0", "netns", self.namespace)
        run("ip", "address", "add", f"10.77.{number}.1/30", "dev", self.card)
        run("ip", "link", "set", self.card, "up")
        run(*self.inside, "ip", "address", "add", f"{self.address}/30", "dev", "eth0")
        for card in ("eth0", "lo"):
            run(*self.inside, "ip", "link", "set", card, "up")

    @contextmanager
    def dropping(self, share: float = 1.0) -> Iterator[None]:
        """Loses this share of the packets, either way."""
        some = () if share == 1 else ("-m", "statistic", "--mode", "random", "--probability", str(share))
        rules = [
            (chain, side, self.address, *some, "-j", "DROP")
            for chain, side in (("OUTPUT", "--destination"), ("INPUT", "--source"))
        ]
        for rule in rules:
            run("iptables", "-I", *rule)
        try:
            yield
        finally:
            for rule in rules:
                run("iptables", "-D", *rule)

    @contextmanager
    def slow(self) -> Iterator[None]:
        added = ("tc", "qdisc", "add", "dev", self.card, "root", "netem", "delay", f"{DELAY_S * 1e3:g}ms")
        done = subprocess.run(added, capture_output=True, text=True)
        if "kind is unknown" in done.stderr:
            pytest.skip("this kernel has no sch_netem; a relay that holds the bytes back stands in for it")
        assert done.returncode == 0, done.stderr
        try:
            yield
        finally:
            run("tc", "qdisc", "delete", "dev", self.card, "root")


class Relay:
    """Passes bytes on to a server, those that go there after `DELAY_S`. It runs on a loop in a thread of its own."""

    def __init__(self, address: str) -> None:
        host, _, port = address.removeprefix("http://").rpartition(":")
        self._to, self._ready = (host, int(port)), threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))
        self._thread.start()
        self._ready.wait()

    async def _serve(self) -> None:
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._pass, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        self._ready.set()
        await self._over.wait()
        server.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(*self._to)
        await asyncio.gather(self._copy(reader, back, DELAY_S), self._copy(there, writer, 0.0), return_exceptions=True)

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay_s: float) -> None:
        try:
            while data := await reader.read(1 << 16):
                await asyncio.sleep(delay_s)
                writer.write(data)
        finally:
            writer.close()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()


class Net:
    """A router and its shards' servers; of shard `n` the links are `links[n]`, and what it answers is known."""

    def __init__(self, router: Router, links: list[list[Link]], servers: list[list[Server]]) -> None:
        self.router, self.links, self.servers = router, links, servers
        with self.client() as client:
            self.whole = self.ask(client).json()
        assert self.whole["coverage"]["answered"] == SHARDS

    def client(self) -> httpx.Client:
        return self.router.client()

    def ask(self, client: httpx.Client, **query: Any) -> httpx.Response:
        return client.post("/v1/indexes/docs/search", json=QUERY | query)

    def load(self, seconds: float, callers: int = 3) -> Counter[str]:
        """How many answers were right, and what the others were."""
        seen = Counter[str]()

        def call() -> None:
            end_s = time.monotonic() + seconds
            with self.client() as client:
                while time.monotonic() < end_s:
                    answer = self.ask(client)
                    right = answer.status_code == 200 and answer.json()["hits"] == self.whole["hits"]
                    seen["right" if right else answer.text] += 1

        threads = [threading.Thread(target=call) for _ in range(callers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return seen

    def until_whole(self) -> None:
        """Until every replica is counted again."""
        limit_s = time.monotonic() + 30
        with self.client() as client:
            while time.monotonic() < limit_s:
                lines = client.get("/metrics").text.splitlines()
                counted = [float(line.split()[-1]) for line in lines if line.startswith("perwatt_shard_replicas{")]
                if sum(counted) == SHARDS * REPLICAS and client.get("/readyz").status_code == 200:
                    return
                time.sleep(0.1)
        raise AssertionError("the router never saw all replicas again")


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Net]:
    folder = tmp_path_factory.mktemp("net")
    payload = [{"text": f"word {row % 7}"} for row in range(COUNT)]
    ids = [f"d{row:03}" for row in range(COUNT)]
    vectors = write_vectors_folder(folder / "v", ids, clustered(COUNT, DIM), payload, bare=True)
    sharded = build_sharded(VectorsFolder(vectors), SHARDS, root=folder / "i", name="docs")
    with ExitStack() as ended:
        links, servers = [], list[list[Server]]()
        for shard, root in enumerate(sharded.roots):
            links.append([Link(1 + shard * REPLICAS + replica) for replica in range(REPLICAS)])
            servers.append([])
            for link in links[-1]:
                options = ("--host", link.address, "--insecure")
                log = folder / f"{link.namespace}.log"
                servers[-1].append(Server(root.folder, *options, log_file=log, prefix=link.inside))
                ended.callback(servers[-1][-1].end)
        router = Router([[each.url for each in pair] for pair in servers], log_file=folder / "router.log")
        ended.callback(router.end)
        yield Net(router, links, servers)


@pytest.fixture
def healed(net: Net) -> Iterator[Net]:
    """The net, which is whole before and after."""
    net.until_whole()
    yield net
    net.until_whole()
    assert net.load(1.0).keys() == {"right"}


def test_a_replica_that_is_cut_off_costs_no_answer(healed: Net) -> None:
    load = threading.Thread(target=lambda: seen.update(healed.load(6.0)))
    seen = Counter[str]()
    load.start()
    time.sleep(1.0)
    with healed.links[0][0].dropping():
        time.sleep(4.0)
    load.join()
    assert seen.keys() == {"right"}
    assert seen["right"] > 100


def test_a_shard_that_is_cut_off_is_said(healed: Net) -> None:
    with healed.client() as client, healed.links[1][0].dropping(), healed.links[1][1].dropping():
        refused = healed.ask(client, timeout_ms=3000)
        assert refused.status_code in (503, 504), refused.text
        partial = healed.ask(client, timeout_ms=3000, allow_partial=True)
        assert partial.status_code == 200
        assert partial.json()["coverage"]["answered"] == 1
        kept = [hit for hit in partial.json()["hits"] if hit in healed.whole["hits"]]
        assert kept == [hit for hit in healed.whole["hits"] if hit in partial.json()["hits"]]
        limit_s = time.monotonic() + 30
        while client.get("/readyz").status_code == 200:
            assert time.monotonic() < limit_s
            time.sleep(0.1)
        refused = healed.ask(client)
        assert (refused.status_code, refused.json()["code"]) == (503, "not-ready")
        assert "Shard 1 of 2" in refused.json()["detail"]


@pytest.mark.parametrize("share", [0.05, 0.3])
def test_packets_that_are_lost_cost_no_answer(healed: Net, share: float) -> None:
    with healed.links[0][1].dropping(share), healed.links[1][0].dropping(share):
        seen = healed.load(5.0)
    assert seen.keys() == {"right"}


def test_packets_that_every_link_loses_cost_no_answer(healed: Net) -> None:
    with ExitStack() as lossy:
        for link in (link for pair in healed.links for link in pair):
            lossy.enter_context(link.dropping(0.05))
        seen = healed.load(5.0)
    assert seen.keys() == {"right"}


def slow_shard(net: Net) -> None:
    """Of a net whose shard 1 is slow, and nothing else."""
    assert net.load(3.0).keys() == {"right"}
    with net.client() as client:
        late = net.ask(client, timeout_ms=int(DELAY_S * 500))
        assert (late.status_code, late.json()["code"]) == (504, "deadline-exceeded")
        partial = net.ask(client, timeout_ms=int(DELAY_S * 500), allow_partial=True).json()
        assert partial["coverage"]["answered"] == 1


def test_a_slow_link_is_waited_for_or_left_out(healed: Net) -> None:
    with healed.links[1][0].slow(), healed.links[1][1].slow():
        slow_shard(healed)


def test_a_slow_replica_costs_no_answer(healed: Net) -> None:
    with healed.links[1][0].slow():
        assert healed.load(3.0).keys() == {"right"}


@pytest.fixture
def relayed(net: Net, tmp_path: Path) -> Iterator[list[Relay]]:
    net.until_whole()
    relays = [Relay(server.url) for server in net.servers[1]]
    yield relays
    for relay in relays:
        relay.close()


def test_a_slow_relay_is_waited_for_or_left_out(net: Net, relayed: list[Relay], tmp_path: Path) -> None:
    quick, slow = [server.url for server in net.servers[0]], [relay.url for relay in relayed]
    router = Router([quick, slow], log_file=tmp_path / "router.log")
    try:
        slow_shard(Net(router, net.links, net.servers))
    finally:
        router.end()


def test_a_replica_behind_a_slow_relay_costs_no_answer(net: Net, relayed: list[Relay], tmp_path: Path) -> None:
    quick, mixed = [server.url for server in net.servers[0]], [relayed[0].url, net.servers[1][1].url]
    router = Router([quick, mixed], log_file=tmp_path / "router.log")
    try:
        assert Net(router, net.links, net.servers).load(3.0).keys() == {"right"}
    finally:
        router.end()
