"""The generator's own ceiling, against a server that does nothing.

The same processes send the same bytes on the same kind of schedule; whatever tail appears is ours and the kernel's. A
run is believed up to a third of the rate at which that tail is still small.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from loadtest.errors import GeneratorsAbsent, LoadTestError
from loadtest.generator.priority import go_first
from loadtest.generator.workers.shipment import MASTER
from loadtest.record.results import Calibration
from loadtest.record.trial import Trial

SHARE = 0.995  # answered of planned
LOST = 6  # trials without an end, each of which takes its time
TOP = Path(__file__).parents[2]
END_S = 5.0  # for a server whose standard input is closed


@contextmanager
def own_server(
    module: str,
    arguments: Sequence[str],
    cpus: list[int] | None,
    first: bool,
    environment: Mapping[str, str] | None = None,
) -> Iterator[tuple[str, int]]:
    """A server of our own in a process of its own; yields its URL and process id.

    Args:
        module: prints its port on a line of its own, and ends with its standard input.
        cpus: that it is confined to.
        first: whether it runs before other programs, where that is allowed.
        environment: None: this process's.

    Raises LoadTestError when it ends without a port; what it said is on standard error.
    """
    server = subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=TOP,
        env=environment,
    )
    if cpus:
        os.sched_setaffinity(server.pid, cpus)
    if first:
        go_first(server.pid)
    try:
        assert server.stdout is not None
        port = server.stdout.readline()
        if not port.strip():
            raise LoadTestError(f"{module} ended with status {server.wait()}; the reason stands above")
        yield f"http://127.0.0.1:{int(port)}", server.pid
    finally:
        assert server.stdin is not None
        assert server.stdout is not None
        server.stdin.close()
        server.stdout.close()
        try:
            server.wait(END_S)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


@contextmanager
def null_server(
    answer_bytes: int = 0, first: bool = False, cpus: list[int] | None = None, bind: str | None = None
) -> Iterator[str]:
    """A null server in a process of its own, with answers of so many bytes; yields its URL.

    It stands in for a service that is never slow, so it may run first and on CPUs that the generator does not use.
    bind: host:port where generators of other hosts come; it listens on the port after that, and the URL says MASTER
    for this host.
    """
    arguments = [str(answer_bytes)]
    if bind is not None:
        host, _, port = bind.rpartition(":")
        arguments += [host, str(int(port) + 1)]
    with own_server("loadtest.generator.null_server", arguments, cpus, first) as (url, _):
        yield url if bind is None else f"http://{MASTER}:{arguments[-1]}"


def calibrate(
    measure: Callable[[float], Trial], start_qps: float, allowed_ms: float, ceiling: bool = False
) -> Calibration:
    """Try `start_qps`; with `ceiling`, go on by half as much again until the allowance is exceeded.

    If the first rate fails, lower ones are tried, so that there always is an answer (possibly 0 q/s): what was measured
    before must not be lost because the proof of it could not be had. It is then INVALID.
    """
    tried: list[tuple[float, float, float]] = []
    best: Trial | None = None
    rate, lost = start_qps, 0
    for _ in range(12):
        for _attempt in range(2):  # a neighbour's hiccup is not a ceiling
            try:
                trial = measure(rate)
            except GeneratorsAbsent:
                raise
            except LoadTestError:
                tried.append((rate, 0.0, 0.0))  # far beyond its ceiling a generator may not even come to its end
                lost += 1
                if best is None and lost == LOST:
                    return Calibration(0.0, 0.0, 0.0, 0.0, 0, tried)
                continue
            p99_ms = trial.response_s(0.99) * 1e3
            tried.append((rate, trial.answered_share, p99_ms))
            passed = trial.answered_share >= SHARE and p99_ms <= allowed_ms
            if passed:
                break
        else:
            passed = False
        if passed:
            best = trial
            if not ceiling or rate < start_qps:
                break
            rate *= 1.5
        elif best is not None:
            break
        else:
            rate /= 1.5
    if best is None:
        return Calibration(0.0, tried[-1][2], 0.0, 0.0, trial.generator.processes, tried)
    cpu = max((sum(p) / len(p) for p in best.generator.cpu if p), default=0.0)
    return Calibration(
        sustained_qps=best.offered_qps,
        p99_ms=best.response_s(0.99) * 1e3,
        lag_p99_ms=best.lag_s(0.99) * 1e3,
        cpu=round(cpu, 4),
        processes=best.generator.processes,
        tried=tried,
    )
