"""Planted effects: a server that really works, made faster by a known factor, must be measured faster by that factor.

One experiment with all arms in every block, in random order: the base, the base once more (A/A), 1.40 and 1.05 times
less work a request, and the base with its CPU taken away for a share of every period, as a cgroup's `cpu.max` does it.
(`cpu.max` itself needs a writable cgroup, which few containers have; stopping and continuing the process is the same
thing by other means, and its truth is just as well known: an hour of the very queue in virtual time.)
"""

from __future__ import annotations

import hashlib
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from loadtest.knee import find_knee
from loadtest.known import generator_for, known_server, plan_for
from loadtest.objective import Objective
from loadtest.priority import go_first
from loadtest.ratio import Ratio, paired_ratio
from loadtest.schedule import PoissonStream
from loadtest.selftest import Proof
from loadtest.simulate import Queue, paper_knee_qps

BASE_S = 0.004
SLO_S = 0.040
BLOCKS = 3
PERIOD_S = 0.010
SHARE = 1 / 1.40  # of each period that the throttled server runs
FACTORS = {"base": 1.0, "base again": 1.0, "1.40 times the speed": 1.40, "1.05 times the speed": 1.05}
THROTTLED = "CPU for 1/1.40 of the time"


def planted_proofs(blocks: int = BLOCKS, seed: int = 5) -> list[Proof]:
    rounds = rounds_for(BASE_S)
    order = np.random.default_rng(seed)
    knees: dict[str, dict[int, float]] = {arm: {} for arm in (*FACTORS, THROTTLED)}
    for block in range(blocks):
        for number in order.permutation(len(knees)):
            arm = list(knees)[number]
            work = round(rounds / FACTORS.get(arm, 1.0))
            expected = true_ratio(arm) * paper_knee_qps(Queue(BASE_S), SLO_S)
            knees[arm][block] = qps = _knee(work, expected, arm == THROTTLED, seed=block * 1000 + int(number) * 100 + 1)
            print(f"block {block + 1} of {blocks}, {arm}: {qps:.1f} q/s", file=sys.stderr, flush=True)
    proofs = []
    for arm in knees:
        if arm != "base":
            ratio, true = paired_ratio(knees[arm], knees["base"]), true_ratio(arm)
            proofs.append(Proof(_name(arm), _held(ratio, true), _found(ratio, true)))
    return proofs


def _name(arm: str) -> str:
    return "A/A of real runs includes 1.00" if arm == "base again" else f"planted {arm} is recovered in real runs"


def _held(ratio: Ratio, true: float) -> bool:
    """The interval holds the truth, and is not so wide that it would hold anything."""
    return ratio.low <= true <= ratio.high and ratio.high / ratio.low < 2


def _found(ratio: Ratio, true: float) -> str:
    return f"{ratio.estimate:.3f} [{ratio.low:.3f}, {ratio.high:.3f}] over {ratio.blocks} blocks, planted {true:.3f}"


def _knee(rounds: int, expected_qps: float, throttle: bool, seed: int) -> float:
    """The fitted knee. Where the search begins is no hint of where it ends: it goes down as readily as up, and what is
    compared is the fit and not a confirmed promise, so nothing is confirmed.
    """
    with (
        known_server("--work", str(rounds)) as (url, pid),
        plan_for(url, slo_p99_ms=SLO_S * 1e3, seed=seed, warmup_s=0.5) as plan,
        throttled(pid, SHARE if throttle else 1.0),
    ):
        knee, _ = find_knee(
            generator_for(plan).measure, Objective(p99_ms=SLO_S * 1e3), start_qps=expected_qps * 0.9, growth=1.12,
            tolerance=0.04, search_s=6, confirmations=0,
        )  # fmt: skip
    return knee.knee_qps


def rounds_for(seconds: float) -> int:
    """Rounds of the hash that take so long here; the least of several tries, which nothing disturbed."""
    tries = []
    for _ in range(20):
        start = time.perf_counter()
        hashlib.pbkdf2_hmac("sha256", b"perwatt", b"known", 2000)
        tries.append(time.perf_counter() - start)
    return max(round(2000 * seconds / min(tries)), 1)


@contextmanager
def throttled(pid: int, share: float) -> Iterator[None]:
    """Let the process run for `share` of every PERIOD_S only; it is continued at the end."""
    if share >= 1:
        yield
        return
    ended = threading.Event()

    def clockwork() -> None:
        go_first(threading.get_native_id())
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


# ---- the truth


def true_ratio(arm: str) -> float:
    """Of the arm's knee to the base's. The objective does not scale with the speed, so it is not quite the factor."""
    base = paper_knee_qps(Queue(BASE_S), SLO_S)
    if arm == THROTTLED:
        return throttled_knee_qps(SHARE) / base
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
