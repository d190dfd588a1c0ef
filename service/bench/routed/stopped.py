"""What callers notice of a replica that is stopped (SIGSTOP) under load while another one serves the same shard.

A stopped process keeps its connections open and answers nothing, which is the worst way of being gone. Searches are
offered on a schedule that waits for no answer, in turns: all replicas at work, and one of them stopped a quarter into
the time. The p99 of one turn over that of the one before it is the figure; of the turns, the median. A search that is
not answered makes the measurement fail, and so does one whose hits are not those that the first replicas give alone.
"""

from __future__ import annotations

import json
import os
import signal
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple, TypeVar

import click
import gevent
import httpx
import numpy as np

from index.disk.root import Root
from service.bench import contenders
from service.bench.offered import SentTooLateError, in_time, offer
from service.bench.routed import fleet
from service.bench.routed.fleet import SEARCH, Served

TURNS, SECONDS, PER_S = 5, 6.0, 100
CONNECTIONS, TIMEOUT_S = 256, 10.0
ATTEMPTS = 4  # at each turn

T = TypeVar("T")


class Hits(NamedTuple):
    """What has to be the same in two answers.

    Args:
        best: id and score of each hit.
        coverage: as the answer has it.
    """

    best: list[tuple[str, float]]
    coverage: dict[str, Any]


def hits_in(answer: str | bytes) -> Hits:
    """Of the JSON of an answer."""
    found = json.loads(answer)
    return Hits([(hit["id"], hit["score"]) for hit in found["hits"]], found["coverage"])


def check(answers: Sequence[tuple[int, bytes]], known: Sequence[Hits]) -> None:
    """Raises ClickException for an answer, head and all, whose hits are not those known of the body it is to."""
    wrong = [number for number, raw in answers if hits_in(raw.partition(b"\r\n\r\n")[2]) != known[number]]
    if wrong:
        raise click.ClickException(
            f"of {len(answers):,} answers {len(wrong):,} were wrong, the first to body {wrong[0]}"
        )


def kept_in_time(measured: Callable[[], T]) -> T:
    """What is measured, once more where this process was too late, as when a machine is busy for a moment."""
    for left in reversed(range(ATTEMPTS)):
        try:
            return measured()
        except SentTooLateError as late:
            if not left:
                raise
            click.echo(f"{late.message}; again", err=True)
    raise AssertionError("there is at least one attempt")


def measure(
    stack: ExitStack, alone: Served, first: list[Served], roots: list[Root], bodies: list[str], core: str
) -> dict[str, Any]:
    """{"quiet_p99_ms": …, "stopped_p99_ms": …, "ratio": …, "searches": …, "per_s": …}.

    Args:
        alone: a router over `first`.
        first: a server of each shard; another one of each is started beside it.
    """
    known = [hits_in(contenders.call(alone.port, "POST", SEARCH, body)) for body in bodies]
    second = [fleet.serve(stack, root, core) for root in roots]
    router = fleet.route(stack, [list(pair) for pair in zip(first, second, strict=True)], core)

    def offered() -> list[float]:
        made = offer(router.port, SEARCH, bodies, PER_S, SECONDS, CONNECTIONS, TIMEOUT_S, keep=True)
        latencies_ms = in_time(made)
        if len(made.answers) != len(latencies_ms):
            raise click.ClickException(f"{len(latencies_ms):,} were answered, and {len(made.answers):,} kept")
        check(made.answers, known)
        return latencies_ms

    def turn() -> tuple[list[float], list[float]]:
        before = offered()
        load = gevent.spawn(offered)
        gevent.sleep(SECONDS / 4)
        os.killpg(second[0].server.process.pid, signal.SIGSTOP)
        try:
            beside: list[float] = load.get()
        finally:
            os.killpg(second[0].server.process.pid, signal.SIGCONT)
            _until_back(router, len(roots))
        return before, beside

    quiet, stopped, searches = [], [], 0
    kept_in_time(offered)  # warm
    for _ in range(TURNS):
        before, beside = kept_in_time(turn)
        quiet.append(float(np.percentile(before, 99)))
        stopped.append(float(np.percentile(beside, 99)))
        searches += len(beside)
        click.echo(f"p99 {quiet[-1]:.2f} ms, one replica stopped: {stopped[-1]:.2f} ms", err=True)
    return {
        "quiet_p99_ms": round(statistics.median(quiet), 2),
        "stopped_p99_ms": round(statistics.median(stopped), 2),
        "ratio": round(statistics.median(after / before for before, after in zip(quiet, stopped, strict=True)), 2),
        "searches": searches,
        "per_s": PER_S,
        "replicas": 2,
    }


def _until_back(router: Served, shards: int, patience_s: float = 30.0) -> None:
    """Until the router counts all replicas again."""
    limit_s = time.monotonic() + patience_s
    with httpx.Client(base_url=router.url) as client:
        while time.monotonic() < limit_s:
            lines = client.get("/metrics").text.splitlines()
            counted = [float(line.split()[-1]) for line in lines if line.startswith("perwatt_shard_replicas{")]
            if sum(counted) == 2 * shards:
                return
            time.sleep(0.1)
    raise click.ClickException("the router does not see that the stopped replica is back")
