"""The proofs that need a clock: real processes, real sockets, real seconds. `perwatt loadtest selftest --full`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial

from loadtest.experiment.knee import find_knee
from loadtest.generator.run import Generator
from loadtest.record.objective import Objective
from loadtest.record.validity_checks import reasons
from loadtest.selftest import planted
from loadtest.selftest.apart import Within, generator_for, plan_for, reference_server
from loadtest.selftest.proof import Proof
from loadtest.selftest.simulate import Queue, paper_knee_qps


def real_knee(name: str, mean_ms: float, servers: int, constant: bool, slo_ms: float, target: str) -> Proof:
    arguments = ["--mean-ms", str(mean_ms), "--servers", str(servers), *(["--constant"] if constant else [])]
    queue = Queue(mean_ms / 1e3, servers, constant)
    paper = paper_knee_qps(queue, slo_ms / 1e3)
    with reference_server(*arguments) as (url, _), plan_for(url, target, slo_p99_ms=slo_ms) as plan:
        generator = generator_for(plan)
        knee, _ = find_knee(
            generator.measure, Objective(p99_ms=slo_ms), start_qps=paper * 0.7, growth=1.25, search_s=15, confirm_s=40,
            confirmations=1,
        )  # fmt: skip
    off = knee.knee_qps / paper - 1
    found = f"{knee.knee_qps:.1f} q/s, on paper {paper:.1f} ({off:+.2%})"
    return Proof(f"{name} over HTTP gives back its knee within 3 %", abs(off) <= 0.03, found)


def stopped_server(target: str, seconds: float = 1.0) -> Proof:
    """A server stopped for a second: the response time shows it, the service time of what was sent hardly does."""
    with (
        reference_server("--mean-ms", "1", "--constant") as (url, pid),
        plan_for(url, target, slo_p99_ms=50.0, max_in_flight=4, timeout_s=5.0) as plan,
    ):
        stopped = Within(partial(_stop, pid, seconds))
        try:
            trial = generator_for(plan, stopped).measure(200.0, 20.0, "run")
        finally:
            stopped.join()
    response, service = trial.response_s(0.99), trial.service_s(0.99)
    shown = response > seconds / 2 and service < 0.1
    found = f"p99 from the due time {response:.3g} s, from the send {service * 1e3:.3g} ms; {trial.shed} not sent"
    return Proof("a server stopped for 1 s shows in the response time and not in the service time", shown, found)


def starved_generator(target: str) -> Proof:
    """A generator that must share its core with spinning processes is found out."""
    cpu = sorted(os.sched_getaffinity(0))[-1]
    spin = f"import os\nos.sched_setaffinity(0, [{cpu}])\nwhile True: pass"
    hogs = [subprocess.Popen([sys.executable, "-c", spin]) for _ in range(4)]
    try:
        with (
            reference_server("--mean-ms", "0.05", "--constant") as (url, _),
            plan_for(url, target, slo_p99_ms=5.0) as plan,
        ):
            trial = Generator(plan, cpus=[cpu], first=False, allow_interference=True).measure(5000.0, 8.0, "run")
    finally:
        for hog in hogs:
            hog.kill()
            hog.wait()
    found = reasons(trial)
    return Proof("a starved generator yields INVALID", trial.spoiled, found[0] if found else "all checks passed")


def gates_see_a_pause(target: str) -> Proof:
    """Stopping the generator itself for half a second must void its run."""
    with reference_server("--mean-ms", "1", "--constant") as (url, _), plan_for(url, target, slo_p99_ms=50.0) as plan:
        paused = Within(partial(_pause_generator, 0.5))
        trial = generator_for(plan, paused).measure(300.0, 8.0, "run")
        paused.join()
    return Proof("a paused generator yields INVALID", trial.spoiled, f"{trial.missed} sends missed")


def _stop(pid: int, for_s: float) -> None:
    os.kill(pid, signal.SIGSTOP)
    try:
        time.sleep(for_s)
    finally:
        os.kill(pid, signal.SIGCONT)


def _pause_generator(for_s: float) -> None:
    import psutil

    for child in psutil.Process().children(recursive=True):
        if "locust" in " ".join(child.cmdline()):
            child.suspend()
            time.sleep(for_s)
            child.resume()


# Each through the target that it is given.
PROOFS: dict[str, Callable[[str], list[Proof]]] = {
    "md1": lambda target: [real_knee("M/D/1", 2.0, 1, True, 20.0, target)],
    "mm4": lambda target: [real_knee("M/M/4", 8.0, 4, False, 60.0, target)],
    "stopped": lambda target: [stopped_server(target)],
    "paused": lambda target: [gates_see_a_pause(target)],
    "starved": lambda target: [starved_generator(target)],
    "planted": planted.planted_proofs,
}
