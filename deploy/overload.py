"""`make test-overload`: three times more than the server can do, for minutes.

    python -m deploy.overload ROOT INDEX [SECONDS]

First the peak: as many texts a second as a fixed crowd of callers gets answered. Then three times that rate is offered
on a schedule that does not wait for answers, each request with a deadline of its own. The promises: what is answered in
time stays at `GOODPUT` of the peak, everything else is refused with 503 and Retry-After (or 504 when its own time is
up), and within `RECOVERY_S` of the end of the overload half the peak is served without a refusal. Exit status 1 when
one is broken. The server has one core and this program another.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import time
from collections import Counter

GOODPUT = 0.90
RECOVERY_S = 5.0
TIMES = 3
CROWD = 64
CONNECTIONS = 600
TIMEOUT_MS = 1000


class Caller:
    """A kept-alive connection with at most one request in flight."""

    def __init__(self, port: int, path: str) -> None:
        self._port, self._path = port, path
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, text: str) -> tuple[int, bool]:
        """Status, and whether it said when to come back."""
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        body = json.dumps({"text": text, "k": 3, "timeout_ms": TIMEOUT_MS}).encode()
        head = f"POST {self._path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        answer = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", answer)
        assert length
        await reader.readexactly(int(length[1]))
        return int(answer[9:12]), b"retry-after: " in answer


async def peak(callers: list[Caller], seconds: float) -> float:
    """Answers a second of a crowd that always has one request each in flight."""
    end_s = time.perf_counter() + seconds
    answered = 0

    async def one(caller: Caller) -> None:
        nonlocal answered
        while time.perf_counter() < end_s:
            status, _ = await caller.ask(f"how do I count to {answered}")
            answered += status == 200

    await asyncio.gather(*(one(caller) for caller in callers[:CROWD]))
    return answered / seconds


async def offer(callers: list[Caller], per_s: float, seconds: float) -> tuple[Counter[str], list[float]]:
    """What became of requests that were due at a fixed rate, and when each refusal came (seconds since the start)."""
    free = list(callers)
    became: Counter[str] = Counter()
    refused_s: list[float] = []
    tasks: set[asyncio.Task[None]] = set()
    start_s = time.perf_counter()

    async def one(caller: Caller, number: int) -> None:
        asked_s = time.perf_counter()
        status, retry = await caller.ask(f"how do I count to {number}")
        late = time.perf_counter() - asked_s > 1.25 * TIMEOUT_MS / 1e3
        free.append(caller)
        became["late" if late else str(status)] += 1
        if status != 200:
            refused_s.append(time.perf_counter() - start_s)
        if status == 503 and not retry:
            became["503 without Retry-After"] += 1

    for number in range(int(per_s * seconds)):
        wait_s = start_s + number / per_s - time.perf_counter()
        if wait_s > 0.001:
            await asyncio.sleep(wait_s)
        elif number % 50 == 0:
            await asyncio.sleep(0)
        if not free:
            became["not offered: every connection waits"] += 1
            continue
        task = asyncio.create_task(one(free.pop(), number))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    while tasks:
        await asyncio.gather(*tasks)
    return became, refused_s


async def prove(port: int, index: str, seconds: float) -> list[str]:
    """The promises that were broken."""
    callers = [Caller(port, f"/v1/indexes/{index}/search") for _ in range(CONNECTIONS)]
    await peak(callers, 1)
    best = await peak(callers, 8)
    print(f"peak: {best:,.0f} texts a second", flush=True)
    became, _ = await offer(callers, TIMES * best, seconds)
    goodput = became["200"] / seconds / best
    print(f"offered {TIMES} × for {seconds:g} s: goodput {goodput:.2f} of the peak; {dict(became)}", flush=True)
    after, refused_s = await offer(callers, best / 2, 2 * RECOVERY_S)
    recovery_s = max(refused_s, default=0.0)
    print(f"then half the peak: last refusal after {recovery_s:.2f} s; {dict(after)}", flush=True)
    broken = []
    if goodput < GOODPUT:
        broken.append(f"goodput {goodput:.2f} < {GOODPUT}")
    if odd := {
        name: count for name, count in became.items() if name not in ("200", "503", "504") and "not offered" not in name
    }:
        broken.append(f"neither answered nor refused in time: {odd}")
    if recovery_s > RECOVERY_S:
        broken.append(f"recovery took {recovery_s:.1f} s")
    return broken


def main(root: str, index: str, seconds: str = "120") -> int:
    cores = sorted(os.sched_getaffinity(0))
    serve = [sys.executable, "-m", "deploy.command", "serve", index, "--root", root, "--port", "0"]
    server = subprocess.Popen(["taskset", "-c", str(cores[0]), *serve], stdout=subprocess.PIPE, text=True)
    os.sched_setaffinity(0, {cores[-1]})
    try:
        assert server.stdout
        port = next(int(found[1]) for line in server.stdout if (found := re.search(r"http://127\.0\.0\.1:(\d+)", line)))
        broken = asyncio.run(prove(port, index, float(seconds)))
    finally:
        server.terminate()
        server.wait()
    print("; ".join(broken) or "every promise held")
    return len(broken) > 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
