"""What callers notice of a replica that is stopped (SIGSTOP) under load while another one serves the same shard.

A stopped process keeps its connections open and answers nothing, which is the worst way of being gone. Searches are
offered on a schedule that waits for no answer, in turns: all replicas at work, and one of them stopped a quarter into
the time. The p99 of one turn over that of the one before it is the figure; of the turns, the median. A search that is
not answered makes the measurement fail.
"""

from __future__ import annotations

import os
import signal
import statistics
import time
from contextlib import ExitStack
from typing import Any

import click
import gevent
import httpx
import numpy as np

from index.disk.root import Root
from service.bench.offered import in_time, offer
from service.bench.routed import fleet
from service.bench.routed.fleet import SEARCH, Served

TURNS, SECONDS, PER_S = 5, 6.0, 100
CONNECTIONS, TIMEOUT_S = 256, 10.0


def measure(stack: ExitStack, first: list[Served], roots: list[Root], bodies: list[str], core: str) -> dict[str, Any]:
    """{"quiet_p99_ms": …, "stopped_p99_ms": …, "ratio": …, "searches": …, "per_s": …}.

    Args:
        first: a server of each shard; another one of each is started beside it.
    """
    second = [fleet.serve(stack, root, core) for root in roots]
    router = fleet.route(stack, [list(pair) for pair in zip(first, second, strict=True)], core)

    def offered() -> list[float]:
        made = offer(router.port, SEARCH, bodies, PER_S, SECONDS, CONNECTIONS, TIMEOUT_S)
        return in_time(made)

    offered()  # warm
    quiet, stopped, searches = [], [], 0
    for _ in range(TURNS):
        alone = offered()
        load = gevent.spawn(offered)
        gevent.sleep(SECONDS / 4)
        os.killpg(second[0].server.process.pid, signal.SIGSTOP)
        try:
            beside = load.get()
        finally:
            os.killpg(second[0].server.process.pid, signal.SIGCONT)
        _until_back(router, len(roots))
        quiet.append(float(np.percentile(alone, 99)))
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
