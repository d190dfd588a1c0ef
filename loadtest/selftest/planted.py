"""Planted effects: a server that really works, made faster by a known factor, must be measured faster by that factor.

One experiment with all arms in every block, in random order: the base, the base once more (A/A), 1.40 and 1.05 times
less CPU time a request, and the base with its CPU taken away for a share of every period, as a cgroup's `cpu.max` does
it. What must come back is the ratio of the knees on paper, which is more than the factor: a fixed objective leaves the
faster server more services to wait for.
(`cpu.max` itself needs a writable cgroup, which few containers have; stopping and continuing the process is the same
thing by other means, and its truth is just as well known: half an hour of the very queue in virtual time, with the
share that a process which never rests was measured to get.)
"""

from __future__ import annotations

import functools
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import psutil
from numpy.typing import NDArray

from loadtest import units
from loadtest.analysis.ratio import Ratio, paired_ratio
from loadtest.experiment.knee import find_knee
from loadtest.generator.priority import go_first
from loadtest.record.objective import Objective
from loadtest.selftest.apart import apart, generator_for, plan_for, reference_server
from loadtest.selftest.proof import Proof
from loadtest.selftest.simulate import Queue, paper_knee_qps
from loadtest.workload.schedule import PoissonStream

BASE_S = 0.002
SLO_S = 0.020
BLOCKS = 5
WIDEST = 1.4  # high end of the interval over its low end
PERIOD_S = 0.010
SHARE = 1 / 1.40  # of each period that the throttled server runs
LEVEL = 1 - 0.05 / 4  # four truths are asked for at once: all four intervals hold theirs in 95 of 100 experiments
FACTORS = {"base": 1.0, "base again": 1.0, "1.40 times the speed": 1.40, "1.05 times the speed": 1.05}
THROTTLED = "CPU for 1/1.40 of the time"


class Arm(NamedTuple):
    """What one search found: the fitted knee, and of its trials what the server spent and what got in the way."""

    knee_qps: float
    work_s: float  # of CPU time a request
    voided: int  # trials that were spoiled; each was made again
    stolen: float  # share of the server's or the generator's CPU that the hypervisor took, in the worst trial
    share: float = 1.0  # of the time that the server could run


def planted_proofs(target: str, blocks: int = BLOCKS, seed: int = 5) -> list[Proof]:
    _tell(
        f"base: {units.seconds(BASE_S)} of CPU a request on one core, knee at p99 ≤ {units.seconds(SLO_S)}; in each of "
        f"{blocks} blocks every arm is searched once, in random order, with the same arrivals"
    )
    order = np.random.default_rng(seed)
    arms: dict[str, dict[int, Arm]] = {name: {} for name in (*FACTORS, THROTTLED)}
    for block in range(blocks):
        for number in order.permutation(len(arms)):
            name = list(arms)[number]
            arms[name][block] = found = _search(name, seed + block * 1000, target)
            _tell(
                f"block {block + 1} of {blocks}, {name}: {found.knee_qps:.1f} q/s, {units.seconds(found.work_s)} of "
                f"CPU a request, {found.voided} trials made again, at most {found.stolen:.0%} stolen"
            )
    knees = {name: {block: arm.knee_qps for block, arm in of.items()} for name, of in arms.items()}
    proofs = []
    for name, of in arms.items():
        if name != "base":
            share = float(np.mean([arm.share for arm in of.values()]))
            ratio, true = paired_ratio(knees[name], knees["base"], LEVEL), true_ratio(name, share)
            work = [float(np.mean([arm.work_s for arm in each.values()])) for each in (of, arms["base"])]
            found_text = f"{_found(ratio, true)}; CPU a request {units.seconds(work[0])} and {units.seconds(work[1])}"
            if name == THROTTLED:
                found_text += f"; it got {share:.4f} of the time, {SHARE:.4f} were meant"
            proofs.append(Proof(_name(name), _held(ratio, true), found_text))
    return proofs


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _name(arm: str) -> str:
    return "A/A of real runs includes 1.00" if arm == "base again" else f"planted {arm} is recovered in real runs"


def _held(ratio: Ratio, true: float) -> bool:
    """The interval holds the truth, and is not so wide that it would hold anything."""
    return ratio.low <= true <= ratio.high and ratio.high / ratio.low < WIDEST


def _found(ratio: Ratio, true: float) -> str:
    return (
        f"knees {ratio.estimate:.3f} [{ratio.low:.3f}, {ratio.high:.3f}] at {LEVEL:.2%} over {ratio.blocks} blocks, "
        f"on paper {true:.3f}"
    )


def _search(arm: str, seed: int, target: str) -> Arm:
    """The fitted knee. Where the search begins is no hint of where it ends: it goes down as readily as up, and what is
    compared is the fit and not a confirmed promise, so nothing is confirmed.

    Arms of a block share the seed: with the same unit arrivals, what the schedule's luck does to one it does to all.
    """
    share = share_left(SHARE) if arm == THROTTLED else 1.0
    expected_qps = true_ratio(arm, share) * paper_knee_qps(Queue(BASE_S), SLO_S)
    with (
        reference_server("--work-ms", str(BASE_S * 1e3 / FACTORS.get(arm, 1.0))) as (url, pid),
        plan_for(url, target, slo_p99_ms=SLO_S * 1e3, seed=seed, warmup_s=0.5) as plan,
        throttled(pid, SHARE if arm == THROTTLED else 1.0),
    ):
        knee, trials = find_knee(
            generator_for(plan).measure, Objective(p99_ms=SLO_S * 1e3), start_qps=expected_qps * 0.9, growth=1.2,
            tolerance=0.08, search_s=5, confirmations=0,
        )  # fmt: skip
    # Of a trial beyond capacity the answers that come after the window were worked for outside of it.
    within = [t for t in trials if t.server is not None and t.response_s(0.99) <= 2 * SLO_S]
    return Arm(
        knee.knee_qps,
        float(np.median([t.cores_used / t.achieved_qps for t in within])) if within else math.nan,
        sum(t.role == "voided" for t in trials),
        max((each.stolen_cores / each.cpus for t in trials for each in t.interference), default=0.0),
        share,
    )


@contextmanager
def throttled(pid: int, share: float) -> Iterator[None]:
    """Let the process run for `share` of every PERIOD_S only; it is continued at the end."""
    if share >= 1:
        yield
        return
    ended = threading.Event()

    def clockwork() -> None:
        go_first(threading.get_native_id(), before=2)  # no process that goes first may hold it up
        beat = time.monotonic()
        while not ended.is_set():
            os.kill(pid, signal.SIGCONT)
            time.sleep(max(beat + PERIOD_S * share - time.monotonic(), 0))
            os.kill(pid, signal.SIGSTOP)
            beat += PERIOD_S
            time.sleep(max(beat - time.monotonic(), 0))

    thread = threading.Thread(target=clockwork, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        os.kill(pid, signal.SIGCONT)


def share_left(share: float, seconds: float = 5.0) -> float:
    """The share of the time that a process gets which is `throttled` to `share` and never rests."""
    child = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        os.sched_setaffinity(child.pid, apart()[0])
        go_first(child.pid)
        with throttled(child.pid, share):
            time.sleep(0.5)
            began_s, before_s = time.monotonic(), psutil.Process(child.pid).cpu_times().user
            time.sleep(seconds)
            return float((psutil.Process(child.pid).cpu_times().user - before_s) / (time.monotonic() - began_s))
    finally:
        child.kill()
        child.wait()


# ---- the truth


@functools.cache
def true_ratio(arm: str, share: float = SHARE) -> float:
    """Of the arm's knee to the base's. The objective does not scale with the speed, so it is not quite the factor.
    share: of the time, that a throttled server could run."""
    base = paper_knee_qps(Queue(BASE_S), SLO_S)
    if arm == THROTTLED:
        return throttled_knee_qps(share) / base
    return paper_knee_qps(Queue(BASE_S / FACTORS[arm]), SLO_S) / base


def throttled_response_s(arrivals_s: NDArray[np.float64], service_s: float, share: float) -> NDArray[np.float64]:
    """Response times of a queue that is served for the first `share` of every PERIOD_S only.

    In the time that the server has (its own clock, which stands still while it is stopped) it is an ordinary queue.
    """
    run_s = PERIOD_S * share
    periods, into = np.divmod(arrivals_s, PERIOD_S)
    own = periods * run_s + np.minimum(into, run_s)
    work = np.arange(1, len(own) + 1) * service_s
    departures = work + np.maximum.accumulate(own - (work - service_s))
    whole = np.floor(departures / run_s - 1e-12)
    response: NDArray[np.float64] = whole * PERIOD_S + (departures - whole * run_s) - arrivals_s
    return response


def throttled_knee_qps(share: float, hours: float = 0.5) -> float:
    """Where p99 of that queue meets the objective, by bisection over half an hour of one stream, stretched."""
    unit = PoissonStream(1.0, 77).arrivals_s(hours * 3600 * share / BASE_S)
    low, high = 0.3 * share / BASE_S, share / BASE_S
    while high / low > 1.0005:
        middle = math.sqrt(low * high)
        tail = float(np.quantile(throttled_response_s(unit / middle, BASE_S, share), 0.99))
        low, high = (middle, high) if tail <= SLO_S else (low, middle)
    return math.sqrt(low * high)
