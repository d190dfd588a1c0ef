"""`make test-overload`: three times more than the server can do, for minutes.

    python -m service.bench.overload ROOT INDEX [SECONDS]

First the peak: as many texts a second as a fixed crowd of callers gets answered. Then three times that rate is offered
on a schedule that does not wait for answers, each request with a deadline of its own. The promises: what is answered in
time stays at `GOODPUT` of the peak, everything else is refused with 503 and Retry-After (or 504 when its own time is
up), and within `RECOVERY_S` of the end of the overload half the peak is served without a refusal. Exit status 1 when
one is broken.

The server has one core and this program another. The peak is measured before and after, because a machine that has
become slower or faster meanwhile makes the first ratio worthless; and a schedule that was not kept is no overload. Both
are exit status 2: nothing was proved, whatever the figures say.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import time
from collections import Counter, deque

import uvloop

GOODPUT = 0.90
RECOVERY_S = 5.0
TIMES = 3
CROWD = 64
CONNECTIONS = 600
TIMEOUT_MS = 1000
TICK_S = 0.001
OFFERED = 0.98  # of the schedule that has to have been kept
STEADY = 0.10  # by how much the two peaks may differ
PEAK_S = 8.0
TEXTS = 1000


class Sender(asyncio.Protocol):
    """A kept-alive connection with at most one request in flight. A protocol and no pair of streams: those could not
    send what three times the peak takes."""

    transport: asyncio.WriteTransport

    def __init__(self) -> None:
        self.answer: asyncio.Future[tuple[int, bool]] | None = None
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # uvloop's is not a subclass of asyncio's

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        if not end:
            return
        length = re.search(rb"content-length: (\d+)", head)
        assert length, head
        if len(body) >= int(length[1]):
            self._received = b""
            assert self.answer is not None
            self.answer.set_result((int(head[9:12]), b"retry-after: " in head))

    def connection_lost(self, exc: Exception | None) -> None:
        if self.answer is not None and not self.answer.done():
            self.answer.set_exception(exc or ConnectionResetError("closed by the server"))

    def ask(self, request: bytes) -> asyncio.Future[tuple[int, bool]]:
        """Status, and whether it said when to come back."""
        self.answer = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return self.answer


def requests(index: str) -> list[bytes]:
    made = []
    for number in range(TEXTS):
        text = f"how do I count the words of a file to {number}"
        body = json.dumps({"text": text, "k": 3, "timeout_ms": TIMEOUT_MS}).encode()
        head = f"POST /v1/indexes/{index}/search HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        made.append(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
    return made


async def peak(callers: list[Sender], asked: list[bytes], seconds: float) -> float:
    """Answers a second of a crowd that always has one request each in flight."""
    end_s = time.perf_counter() + seconds
    answered = 0

    async def one(caller: Sender, number: int) -> None:
        nonlocal answered
        while time.perf_counter() < end_s:
            number += 1
            status, _ = await caller.ask(asked[number * CROWD % TEXTS])
            answered += status == 200

    await asyncio.gather(*(one(caller, number) for number, caller in enumerate(callers[:CROWD])))
    return answered / seconds


async def offer(
    callers: list[Sender], asked: list[bytes], per_s: float, seconds: float
) -> tuple[Counter[str], list[float]]:
    """What became of requests that were due at a fixed rate, and when each refusal came (seconds since the start)."""
    free = deque(callers)  # each in its turn: one that is never used would be closed for being idle
    became: Counter[str] = Counter()
    refused_s: list[float] = []
    loop = asyncio.get_running_loop()
    start_s = time.perf_counter()

    def answered(caller: Sender, asked_s: float, answer: asyncio.Future[tuple[int, bool]]) -> None:
        free.append(caller)
        now_s = time.perf_counter()
        try:
            status, retry = answer.result()
        except OSError as error:
            became[f"lost: {error}"] += 1
            return
        became["late" if now_s - asked_s > 1.25 * TIMEOUT_MS / 1e3 else str(status)] += 1
        if status != 200:
            refused_s.append(now_s - start_s)
        if status == 503 and not retry:
            became["503 without Retry-After"] += 1

    number, count = 0, int(per_s * seconds)
    while number < count:
        due = min(count, int((time.perf_counter() - start_s) * per_s) + 1)
        for each in range(number, due):
            if not free:
                became["not offered: every connection waits"] += 1
                continue
            caller = free.popleft()
            asked_s = time.perf_counter()
            caller.ask(asked[each % TEXTS]).add_done_callback(
                lambda answer, caller=caller, asked_s=asked_s: answered(caller, asked_s, answer)  # type: ignore[misc]
            )
        number = due
        await asyncio.sleep(TICK_S)
    became["seconds behind the schedule"] = round(time.perf_counter() - start_s - seconds)
    limit_s = loop.time() + 10
    while len(free) < len(callers) and loop.time() < limit_s:
        await asyncio.sleep(0.01)
    became["never answered"] = len(callers) - len(free)
    return +became, refused_s


async def prove(port: int, index: str, seconds: float) -> tuple[list[str], list[str]]:
    """The promises that were broken, and why nothing was proved."""
    loop = asyncio.get_running_loop()
    asked = requests(index)
    callers = [(await loop.create_connection(Sender, "127.0.0.1", port))[1] for _ in range(CONNECTIONS)]
    for caller in callers:  # one that has never asked anything would not be kept for long
        await caller.ask(asked[0])
    await peak(callers, asked, 1)
    best = await peak(callers, asked, PEAK_S)
    print(f"peak: {best:,.0f} texts a second", flush=True)
    became, _ = await offer(callers, asked, TIMES * best, seconds)
    goodput = became["200"] / seconds / best
    print(f"offered {TIMES} × for {seconds:g} s: goodput {goodput:.2f} of the peak; {dict(became)}", flush=True)
    after, refused_s = await offer(callers, asked, best / 2, 2 * RECOVERY_S)
    recovery_s = max(refused_s, default=0.0)
    print(f"then half the peak: last refusal after {recovery_s:.2f} s; {dict(after)}", flush=True)
    again = await peak(callers, asked, PEAK_S)
    print(f"peak again: {again:,.0f} texts a second", flush=True)
    broken, invalid = [], []
    if goodput < GOODPUT:
        broken.append(f"goodput {goodput:.2f} < {GOODPUT}")
    fine = {"200", "503", "504", "not offered: every connection waits", "seconds behind the schedule"}
    if odd := {name: count for name, count in became.items() if name not in fine}:
        broken.append(f"neither answered nor refused in time: {odd}")
    if recovery_s > RECOVERY_S:
        broken.append(f"recovery took {recovery_s:.1f} s")
    if abs(again / best - 1) > STEADY:
        invalid.append(f"the peak was {best:,.0f} before and {again:,.0f} after")
    offered = 1 - became["not offered: every connection waits"] / (TIMES * best * seconds)
    if offered < OFFERED or became["seconds behind the schedule"] > (1 - OFFERED) * seconds:
        invalid.append(f"only {offered:.0%} of the schedule was offered")
    return broken, invalid


def main(root: str, index: str, seconds: str = "120") -> int:
    cores = sorted(os.sched_getaffinity(0))
    serve = [sys.executable, "-m", "deploy.command", "serve", index, "--root", root, "--port", "0"]
    server = subprocess.Popen(["taskset", "-c", str(cores[0]), *serve], stdout=subprocess.PIPE, text=True)
    os.sched_setaffinity(0, {cores[-1]})
    try:
        assert server.stdout
        port = next(int(found[1]) for line in server.stdout if (found := re.search(r"http://127\.0\.0\.1:(\d+)", line)))
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            broken, invalid = runner.run(prove(port, index, float(seconds)))
    finally:
        server.terminate()
        server.wait()
    print("; ".join(broken) or "every promise held")
    if invalid:
        print(f"but nothing was proved: {'; '.join(invalid)}")
    return 2 if invalid else len(broken) > 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
