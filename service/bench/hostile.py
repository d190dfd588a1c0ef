"""`make test-hostile`: what a good caller notices of bad ones.

    python -m service.bench.hostile ROOT INDEX [SECONDS]

A good caller asks on a schedule that waits for no answer, and its latency runs from the moment each request was due.
Windows without an attack and windows with one alternate, so that a slow moment of the machine falls on both; the
promise is that the 99th percentile under attack is at most `ALLOWED` times that without. Exit status 1 when an attack
breaks it.

Attackers come from other machines, and must not take the server's core nor the good caller's: the server has a core of
its own, and they share the other one, with the attackers in the class of processes that get what is left (SCHED_IDLE).
When the windows without an attack differ among themselves by more than `STEADY`, something else is at work on the
machine and nothing was proved: exit status 2.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import resource
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import httpx

from service.bench.offered import offer, served

ALLOWED = 1.5
STEADY = 2.0
RATE_PER_S = 100
CALLERS = 256  # connections of the good caller, at most: more are open at once where answers are late
IDLE = 10_000
SLOW = 500
GIB = 1 << 30
PIECE = b" " * 65536
SWING_S = 30.0  # what an attack may take until it holds what it is meant to hold
CALM = 3  # connections, at most, while nobody attacks
WINDOWS = 3

QUERY = json.dumps({"vector": [0.05] * 384})
WAIT_S = 10.0  # for an answer


class HostileTarget:
    def __init__(self, port: int, index: str) -> None:
        self.port = port
        self.path = f"/v1/indexes/{index}/search"
        self.head = f"POST {self.path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"

    async def dial(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    def good(self, seconds: float) -> float:
        """The 99th percentile of a good caller's latencies, in milliseconds."""
        offered = offer(self.port, self.path, [QUERY], RATE_PER_S, seconds, CALLERS, WAIT_S)
        assert offered.fates.keys() == {"answered"}, offered.fates
        return sorted(offered.latencies_ms)[int(len(offered.latencies_ms) * 0.99)]

    def connections(self) -> int:
        """That the server has open, the one that asks included."""
        said = httpx.get(f"http://127.0.0.1:{self.port}/metrics", headers={"connection": "close"}).text
        found = re.search(r"^perwatt_connections (\S+)", said, re.MULTILINE)
        assert found
        return int(float(found[1]))


async def _hold(target: HostileTarget, count: int, first: bytes, again: bytes, every_s: float) -> None:
    """`count` connections that send `first` and then `again` for ever, opened anew when the server has had enough."""

    async def one() -> None:
        while True:
            with contextlib.suppress(OSError):
                reader, writer = await target.dial()
                writer.write(first)
                while not reader.at_eof():
                    await asyncio.sleep(every_s)
                    writer.write(again)
                    await writer.drain()
                writer.close()
            await asyncio.sleep(0.5)

    await asyncio.gather(*(one() for _ in range(count)))


async def _send(target: HostileTarget, framing: str, pieces: int, piece: bytes) -> None:
    """Two callers who send a body of so many pieces as often as they can, until the server will take no more of it."""

    async def one() -> None:
        while True:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                reader, writer = await target.dial()
                writer.write(f"{target.head}{framing}\r\n\r\n".encode())
                for _ in range(pieces):
                    writer.write(piece)
                    await writer.drain()
                await reader.readuntil(b"\r\n\r\n")
                writer.close()
            await asyncio.sleep(0.05)

    await asyncio.gather(one(), one())


class Attack(NamedTuple):
    connections: int  # that it holds open
    run: Callable[[HostileTarget], Awaitable[None]]


ATTACKS = {
    "idle connections": Attack(IDLE, lambda target: _hold(target, IDLE, b"", b"", 1.0)),
    "slow heads": Attack(SLOW, lambda target: _hold(target, SLOW, target.head.encode(), b"x: y\r\n", 1.0)),
    "slow bodies": Attack(
        SLOW,
        lambda target: _hold(target, SLOW, f"{target.head}content-length: 900000\r\n\r\n".encode(), b" ", 1.0),
    ),
    "a body of 1 GiB": Attack(0, lambda target: _send(target, f"content-length: {GIB}", GIB // len(PIECE), PIECE)),
    "1 GiB in chunks": Attack(
        0,
        lambda target: _send(target, "transfer-encoding: chunked", GIB // len(PIECE), b"10000\r\n" + PIECE + b"\r\n"),
    ),
    "100,000 brackets": Attack(0, lambda target: _send(target, "content-length: 100000", 1, b"[" * 100_000)),
}


def _in_full_swing(target: HostileTarget, attack: Attack) -> int:
    """Waits for it; the connections that the server then has open."""
    begun_s = time.monotonic()
    while True:
        time.sleep(1)
        now = target.connections()
        if now >= attack.connections and time.monotonic() > begun_s + 2:
            return now
        if time.monotonic() > begun_s + SWING_S:
            raise SystemExit(f"{now:,} connections are open, {attack.connections:,} are needed: this is no attack.")


def _settled(target: HostileTarget) -> None:
    """Waits until the server has closed what an attack left open: ten thousand partings are work, too."""
    limit_s = time.monotonic() + SWING_S
    while (now := target.connections()) > CALM:
        if time.monotonic() > limit_s:
            raise SystemExit(f"{now:,} connections are open {SWING_S:.0f} s after an attack, at most {CALM} should be.")
        time.sleep(0.5)
    time.sleep(1)


def measure(port: int, index: str, seconds: float) -> dict[str, tuple[list[float], list[float]]]:
    """{attack: (p99 without, p99 with it)} in milliseconds, of each window, ascending."""
    target = HostileTarget(port, index)
    target.good(1)
    figures: dict[str, tuple[list[float], list[float]]] = {}
    for name in ATTACKS:
        calm: list[float] = []
        attacked: list[float] = []
        held = 0
        for _ in range(WINDOWS):
            _settled(target)
            calm.append(target.good(seconds))
            attack = subprocess.Popen([sys.executable, "-m", "service.bench.hostile", "attack", str(port), index, name])
            try:
                held = max(held, _in_full_swing(target, ATTACKS[name]))
                attacked.append(target.good(seconds))
            finally:
                attack.kill()
                attack.wait()
        figures[name] = (sorted(calm), sorted(attacked))
        alone, beside = figures[name]
        print(
            f"{name:<17} p99 {_ms(alone)} alone, {_ms(beside)} beside it: {_middle(beside) / _middle(alone):.2f} ×; "
            f"{held:,} connections",
            flush=True,
        )
    return figures


def _ms(windows: list[float]) -> str:
    return " / ".join(f"{each:.2f}" for each in windows) + " ms"


def _middle(windows: list[float]) -> float:
    """The median: one window that was disturbed is outvoted, on either side."""
    return windows[len(windows) // 2]


def main(root: str, index: str, seconds: str = "10") -> int:
    with served(root, index) as (_, port):
        figures = measure(port, index, float(seconds))
    broken = [name for name, (calm, attacked) in figures.items() if _middle(attacked) > ALLOWED * _middle(calm)]
    print(f"more than {ALLOWED} ×: {', '.join(broken) or 'none'}")
    if unsteady := [name for name, (calm, _) in figures.items() if calm[-1] > STEADY * calm[0]]:
        print(f"but nothing was proved: without an attack, too, the windows differ ({', '.join(unsteady)})")
        return 2
    return len(broken) > 0


if __name__ == "__main__":
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if sys.argv[1] == "attack":
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        asyncio.run(ATTACKS[sys.argv[4]].run(HostileTarget(int(sys.argv[2]), sys.argv[3])))  # type: ignore[arg-type]
    else:
        sys.exit(main(*sys.argv[1:]))
