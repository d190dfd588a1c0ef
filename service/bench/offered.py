"""A server of one core, and requests offered to it from another on a schedule that waits for no answer.

The requests are sent by the load test's pump, in this process: times run from the moment each was due.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import click
import gevent

from loadtest.generator.pump import Pump
from loadtest.workload.plan import Plan
from loadtest.workload.requests import ReadyMade
from service.bench.load import wire_of
from service.bench.process import Server

EVERY = 1e9  # samples a second, of answers that are kept: all of them
LATE = 0.02  # of the requests, that this process may have been too late to send


class SentTooLateError(click.ClickException):
    """This process was too late to keep the schedule: what it found says nothing of the server."""


class Offer(NamedTuple):
    """What became of the requests that were due.

    Args:
        latencies_ms: of those that were answered with 200.
        fates: how many were "answered"; "status N"; "shed", not sent because every connection waited; "missed", not
            sent because this process was late; "timeout"; or failed in a way that it names.
        last_failure_s: from the begin to the end of the last second in which one failed that had been sent; 0: none.
        answers: where they were to be kept, the body that was sent, by its place, and what came back, head and all.
    """

    latencies_ms: list[float]
    fates: Counter[str]
    last_failure_s: float
    answers: list[tuple[int, bytes]]


def offer(
    port: int,
    path: str,
    bodies: list[str],
    per_s: float,
    seconds: float,
    connections: int,
    timeout_s: float,
    method: str = "POST",
    keep: bool = False,
) -> Offer:
    """Offers `bodies`, drawn at random, at Poisson arrivals.

    Args:
        keep: the answers.
    """
    plan = Plan(
        url=f"http://127.0.0.1:{port}",
        index="",
        queries="",
        rate_qps=per_s,
        duration_s=seconds,
        timeout_s=timeout_s,
        max_in_flight=connections,
        samples_per_s=EVERY if keep else 0,
    )
    wires = [wire_of(port, path, body, method).encode() for body in bodies]
    pump = Pump(ReadyMade(plan, wires), gevent.get_hub().loop, socket.socket, range(len(wires) if keep else 0))
    begin_s, answers = time.monotonic(), list[tuple[int, bytes]]()
    pump.stop_at = begin_s + seconds
    pump.open_stream(per_s, 1, (0, 0), begin_s)
    while pump.due or pump.in_flight:
        gevent.sleep(0.01)
        pump.sweep()
        while keep and pump.samples:
            number, _, _, raw = pump.samples.popleft()
            answers.append((number, raw))
    pump.close()
    latencies_ms = [(done - due) * 1e3 for due, done in zip(pump.answered[::3], pump.answered[2::3], strict=True)]
    fates, last_failure_s = Counter(answered=len(latencies_ms)), 0.0
    for (kind, second), count in pump.failed.items():
        fates[kind] += count
        if kind not in ("shed", "missed"):
            last_failure_s = max(last_failure_s, second + 1 - begin_s)
    return Offer(latencies_ms, fates, last_failure_s, answers)


def in_time(made: Offer) -> list[float]:
    """Milliseconds of all requests. Raises ClickException where one was not answered, SentTooLateError where this
    process was too late to keep the schedule."""
    late, offered = made.fates["missed"], made.fates.total()
    if late > LATE * offered:
        raise SentTooLateError(f"{late:,} of {offered:,} requests were sent too late: measure when it is quiet")
    if lost := offered - late - made.fates["answered"]:
        raise click.ClickException(f"{lost:,} requests were not answered: {dict(made.fates)}")
    return made.latencies_ms


@contextlib.contextmanager
def served(root: str, index: str, *options: str, log: Path = Path(os.devnull)) -> Iterator[tuple[Server, int]]:
    """perwatt and its port, on the first core; this process and its children go to the last one.

    Args:
        options: further ones of `perwatt serve`.
        log: gets what it says on stderr.
    """
    cores = sorted(os.sched_getaffinity(0))
    serve = [sys.executable, "-m", "deploy.command", "serve", index, "--root", root, "--port", "0"]
    serve += ["--no-query-cache", *options]  # a few texts are asked over and over
    server = Server("perwatt", serve, str(cores[0]), log=log)
    os.sched_setaffinity(0, {cores[-1]})
    try:
        server.wait("serving on")
        yield server, server.port()
    finally:
        server.stop()
