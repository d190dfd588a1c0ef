"""The proofs that need a clock: real processes, real sockets, real seconds. `perwatt loadtest selftest --full`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from loadtest.health import reasons
from loadtest.knee import find_knee
from loadtest.objective import Objective
from loadtest.plan import Plan
from loadtest.ratio import paired_ratio
from loadtest.run import Generator
from loadtest.selftest import Proof
from loadtest.simulate import Queue, paper_knee_qps


@contextmanager
def known_server(*arguments: str) -> Iterator[tuple[str, int]]:
    """A known server as a process; yields its URL and process id."""
    server = subprocess.Popen(
        [sys.executable, "-m", "loadtest.known_server", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[1],
    )
    try:
        assert server.stdout is not None
        yield f"http://127.0.0.1:{int(server.stdout.readline())}", server.pid
    finally:
        assert server.stdin is not None
        assert server.stdout is not None
        server.stdin.close()
        server.stdout.close()
        try:
            server.wait(5)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


@contextmanager
def plan_for(url: str, **changes: object) -> Iterator[Plan]:
    with tempfile.TemporaryDirectory(prefix="perwatt-selftest-") as folder:
        queries = Path(folder, "queries.jsonl")
        queries.write_text("\n".join(json.dumps({"text": f"known question {i}"}) for i in range(100)))
        plan = Plan(url=url, index="known", queries=str(queries), rate_qps=1, duration_s=1, warmup_s=1)
        yield msgspec.structs.replace(plan, **changes)


def real_knee(name: str, mean_ms: float, servers: int, constant: bool, slo_ms: float) -> Proof:
    arguments = ["--mean-ms", str(mean_ms), "--servers", str(servers), *(["--constant"] if constant else [])]
    queue = Queue(mean_ms / 1e3, servers, constant)
    paper = paper_knee_qps(queue, slo_ms / 1e3)
    with known_server(*arguments) as (url, _), plan_for(url, slo_p99_ms=slo_ms) as plan:
        generator = Generator(plan)
        knee, _ = find_knee(generator.measure, Objective(p99_ms=slo_ms), start_qps=paper / 3, search_s=20, confirm_s=60)
    off = knee.knee_qps / paper - 1
    found = f"{knee.knee_qps:.1f} q/s, on paper {paper:.1f} ({off:+.2%})"
    return Proof(f"{name} over HTTP gives back its knee within 3 %", abs(off) <= 0.03, found)


def stopped_server(seconds: float = 1.0) -> Proof:
    """A server stopped for a second: the response time shows it, the service time of what was sent hardly does."""
    with (
        known_server("--mean-ms", "1", "--constant") as (url, pid),
        plan_for(url, slo_p99_ms=50.0, max_in_flight=4, timeout_s=5.0) as plan,
    ):
        stop = threading.Timer(8.0, os.kill, (pid, signal.SIGSTOP))
        go = threading.Timer(8.0 + seconds, os.kill, (pid, signal.SIGCONT))
        stop.start()
        go.start()
        try:
            trial = Generator(plan).measure(200.0, 20.0, "run")
        finally:
            stop.join()
            go.join()
    response, service = trial.response_s(0.99), trial.service_s(0.99)
    shown = response > seconds / 2 and service < 0.1
    found = f"p99 from the due time {response:.3g} s, from the send {service * 1e3:.3g} ms; {trial.shed} not sent"
    return Proof("a server stopped for 1 s shows in the response time and not in the service time", shown, found)


def starved_generator() -> Proof:
    """A generator that must share its core with spinning processes is found out."""
    cpu = sorted(os.sched_getaffinity(0))[-1]
    spin = f"import os\nos.sched_setaffinity(0, [{cpu}])\nwhile True: pass"
    hogs = [subprocess.Popen([sys.executable, "-c", spin]) for _ in range(4)]
    try:
        with known_server("--mean-ms", "0.05", "--constant") as (url, _), plan_for(url, slo_p99_ms=5.0) as plan:
            trial = Generator(plan, cpus=[cpu], first=False).measure(5000.0, 8.0, "run")
    finally:
        for hog in hogs:
            hog.kill()
            hog.wait()
    found = reasons(trial)
    return Proof(
        "a starved generator yields INVALID", trial.invalid_by_generator, found[0] if found else "all gates passed"
    )


def real_pair(factor: float, blocks: int = 6) -> Proof:
    """Arms alternate over two servers, one of which is `factor` times as fast; 1.0 is the A/A run."""
    rates: list[dict[int, float]] = [{}, {}]
    slo_ms, base_ms = 40.0, 4.0
    for block in range(blocks):
        order = (0, 1) if block % 2 else (1, 0)
        for arm in order:
            mean_ms = base_ms / (factor if arm else 1.0)
            with (
                known_server("--mean-ms", f"{mean_ms:.6f}", "--constant", "--seed", str(block)) as (url, _),
                plan_for(url, slo_p99_ms=slo_ms, seed=block * 100 + arm * 50 + 1) as plan,
            ):
                paper = paper_knee_qps(Queue(mean_ms / 1e3), slo_ms / 1e3)
                knee, _ = find_knee(
                    Generator(plan).measure,
                    Objective(p99_ms=slo_ms),
                    start_qps=paper / 2.2,
                    search_s=10,
                    confirm_s=20,
                )
                rates[arm][block] = knee.knee_qps
    # The objective is not scaled with the speed, so the knee's ratio differs a little from the speed's.
    true = paper_knee_qps(Queue(base_ms / factor / 1e3), slo_ms / 1e3) / paper_knee_qps(
        Queue(base_ms / 1e3), slo_ms / 1e3
    )
    ratio = paired_ratio(rates[1], rates[0])
    held = ratio.low <= true <= ratio.high
    found = f"{ratio.estimate:.3f} [{ratio.low:.3f}, {ratio.high:.3f}], planted {true:.3f}"
    return Proof(f"a planted {factor:.2f} is recovered in {blocks} real blocks", held, found)


def gates_see_a_pause() -> Proof:
    """Stopping the generator itself for half a second must void its run."""
    with known_server("--mean-ms", "1", "--constant") as (url, _), plan_for(url, slo_p99_ms=50.0) as plan:
        generator = Generator(plan)
        stopper = threading.Thread(target=_pause_generator, args=(6.0, 0.5), daemon=True)
        stopper.start()
        trial = generator.measure(300.0, 8.0, "run")
        stopper.join()
    return Proof("a paused generator yields INVALID", trial.invalid_by_generator, f"{trial.missed} sends missed")


def _pause_generator(after_s: float, for_s: float) -> None:
    import psutil

    time.sleep(after_s)
    for child in psutil.Process().children(recursive=True):
        if "locust" in " ".join(child.cmdline()):
            child.suspend()
            time.sleep(for_s)
            child.resume()


PROOFS: list[Callable[[], Proof]] = [
    lambda: real_knee("M/D/1", 5.0, 1, True, 50.0),
    lambda: real_knee("M/M/4", 16.0, 4, False, 120.0),
    stopped_server,
    gates_see_a_pause,
    starved_generator,
    lambda: real_pair(1.0),
    lambda: real_pair(1.40),
]
