"""How evenly connections are spread over workers: `python -m service.bench.spread`.

    one socket      every worker waits on the same listening socket, which is what uvicorn's --workers does
    SO_REUSEPORT    every worker has a listening socket of its own at the same port, and the kernel hashes
    perwatt         the parent accepts and hands each connection to the worker that has the fewest

The first two are bare processes around an event loop: no server does better than its kernel lets it. Connections are
opened one after the other by one caller and stay open, as a load balancer's do. What counts is the share of the fullest
worker, because it is the first that is too slow.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import multiprocessing
import os
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from multiprocessing.connection import Connection
from pathlib import Path

Counts = Callable[[], list[int]]  # connections of each worker now

WORKERS = 4
CONNECTIONS = (8, 16, 64, 512)
ROUNDS = 10


def measure() -> dict[str, dict[str, float]]:
    """{way: {connections: share of the fullest worker}}, the mean of `ROUNDS`; 1/WORKERS is even."""
    return {
        "one socket": _bare(shared=True),
        "SO_REUSEPORT": _bare(shared=False),
        "perwatt": _perwatt(),
    }


def _bare(shared: bool) -> dict[str, float]:
    first = _listening(0)
    port = first.getsockname()[1]
    sockets = [first if shared or not number else _listening(port) for number in range(WORKERS)]
    context = multiprocessing.get_context("fork")
    with ExitStack() as stack:
        ends: list[Connection] = []
        for listening in sockets:
            ours, theirs = context.Pipe()
            worker = context.Process(target=_worker, args=(listening, theirs), daemon=True)
            worker.start()
            stack.callback(worker.kill)
            ends.append(ours)
        for end in ends:
            end.recv()

        def counts() -> list[int]:
            for end in ends:
                end.send(None)
            return [end.recv() for end in ends]

        return _shares(port, counts)


def _listening(port: int) -> socket.socket:
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    made.bind(("127.0.0.1", port))
    made.listen(1024)
    return made


def _worker(listening: socket.socket, asked: Connection) -> None:
    """Answers every word on its pipe with the number of connections that it has."""
    taken: set[asyncio.StreamWriter] = set()

    async def keep(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        taken.add(writer)
        with contextlib.suppress(OSError):
            await reader.read()
        taken.discard(writer)
        writer.close()

    def tell() -> None:
        asked.recv()
        asked.send(len(taken))

    async def work() -> None:
        await asyncio.start_server(keep, sock=listening)
        asyncio.get_running_loop().add_reader(asked.fileno(), tell)
        asked.send(None)
        await asyncio.Event().wait()

    asyncio.run(work())


def _perwatt() -> dict[str, float]:
    import numpy as np

    from index import build_generation
    from service.bench import contenders

    with tempfile.TemporaryDirectory(prefix="perwatt-bench-") as name, ExitStack() as stack:
        vectors = np.random.default_rng(1).standard_normal((1000, 64), np.float32)
        build_generation(vectors, list(range(1000)), root=Path(name) / "indexes", name="bench")
        cores = ",".join(map(str, sorted(os.sched_getaffinity(0))))
        server, port = contenders.perwatt(stack, Path(name), cores, WORKERS)
        [parent] = [pid for pid in server.pids() if _children(pid)]
        return _shares(port, lambda: [_established(pid, port) for pid in _children(parent)])


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _established(pid: int, port: int) -> int:
    """Connections of a process at `port`."""
    own = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            own.add(str(descriptor.readlink()))
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(
        each[3] == "01" and int(each[1].split(":")[1], 16) == port and f"socket:[{each[9]}]" in own for each in lines
    )


def _shares(port: int, counts: Counts) -> dict[str, float]:
    found = {}
    for connections in CONNECTIONS:
        shares = []
        for _ in range(ROUNDS):
            with ExitStack() as stack:
                for _ in range(connections):
                    stack.enter_context(socket.create_connection(("127.0.0.1", port)))
                    time.sleep(0.001)  # until it is accepted
                shares.append(max(_until(counts, connections)) / connections)
            _until(counts, 0)
        found[str(connections)] = round(sum(shares) / ROUNDS, 3)
    return found


def _until(counts: Counts, total: int) -> list[int]:
    limit_s = time.monotonic() + 30
    while sum(now := counts()) != total:
        if time.monotonic() > limit_s:
            raise SystemExit(f"The workers have {sum(now)} connections, expected {total}.")
        time.sleep(0.02)
    return now


if __name__ == "__main__":
    json.dump(measure(), sys.stdout, indent=1)
    print()
