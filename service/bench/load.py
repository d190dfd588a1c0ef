"""Load on one server: a closed loop by wrk, and an open loop by perwatt's own generator.

wrk measures how much a server can do. A generator that uses up its own core measures itself, so wrk's share of its core
is measured too, and a round in which it exceeds `SATURATED` is reported as such.

wrk's times are those of a load that waits for the server: a connection sends when its last answer has arrived, so slow
moments get fewer requests (coordinated omission). Users see the times of the open loop: requests are sent when they are
due, whatever became of those before, and time runs from then.
"""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import TypedDict

import click

from loadtest.experiment.knee import sound
from loadtest.generator.run import Generator
from loadtest.record.trial import Trial
from loadtest.record.validity_checks import validity_checks
from loadtest.workload.plan import Plan
from loadtest.workload.requests import ReadyMade
from service.bench.process import Server

OPEN_SHARE = 0.7  # of what wrk found: about where a server is run whose times matter
REQUESTS = 1000  # at least, so that ten are slower than p99
SHORTEST_S, LONGEST_S = 10.0, 60.0
LEAST_P99_MS = 5.0  # the generator may add a tenth of p99, but needs no better clock than half a millisecond
SATURATED = 0.9
TIMEOUT_S = 60  # a slow peer is slow and no failure

LUA = """
local bodies, at = {}, 0
function init()  -- before it, wrk knows no Host
  for line in io.lines(os.getenv("BODIES")) do
    bodies[#bodies + 1] = wrk.format("POST", nil, {["content-type"] = "application/json"}, line)
  end
end
function request() at = at % #bodies + 1; return bodies[at] end
function done(summary, latency, requests)
  local bad = summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.timeout
  io.write(string.format('{"requests": %d, "seconds": %f, "bad": %d, "p50_ms": %f, "p99_ms": %f}\\n',
    summary.requests, summary.duration / 1e6, bad, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
"""
LUA_GET = LUA.replace('"POST", nil, {["content-type"] = "application/json"}, line', '"GET", line')

LOCUST = """
import itertools, os
from locust import FastHttpUser, task
bodies = itertools.cycle(open(os.environ["BODIES"], "rb").read().splitlines())
class Caller(FastHttpUser):
    @task
    def ask(self):
        self.client.post(os.environ["ASK"], data=next(bodies), headers={"content-type": "application/json"})
"""


class Round(TypedDict):
    """
    Args:
        cpu_us: processor time a request of the server.
        busy: share of its core that the generator took.
    """

    per_s: float
    p50_ms: float
    p99_ms: float
    cpu_us: float
    busy: float


class Open(TypedDict):
    """
    Args:
        late_ms: what the generator itself was late at p99, which is in the times.
    """

    offered_per_s: float
    p50_ms: float
    p99_ms: float
    late_ms: float


def open_loop(
    folder: Path,
    port: int,
    path: str,
    bodies: list[str],
    closed_per_s: float,
    core: int,
    allow_interference: bool = False,
) -> Open:
    """Poisson arrivals at OPEN_SHARE of `closed_per_s`, from `core`; path "": the bodies are paths of GET requests.

    Raises ClickException where a request failed or was not answered, and InvalidRun where the generator or other
    programs spoiled it.
    """
    rate = OPEN_SHARE * closed_per_s
    ReadyMade.write([wire_of(port, path, body) for body in bodies], folder / "wires.json")
    plan = Plan(
        url=f"http://127.0.0.1:{port}", index="", queries="", wires=str(folder / "wires.json"), rate_qps=rate,
        duration_s=1, warmup_s=1, timeout_s=TIMEOUT_S, samples_per_s=0,
    )  # fmt: skip
    generator = Generator(plan, cpus=[core], allow_interference=allow_interference)

    def measure(rate_qps: float, seconds: float, role: str) -> Trial:
        trial = generator.measure(rate_qps, seconds, role)
        if any(auth.ok is False and auth.cause == "other programs" for auth in trial.gates):
            return trial  # whatever else was wrong with it
        if lost := trial.unanswered - trial.missed:
            kinds = {**trial.errors, "shed": trial.shed}
            raise click.ClickException(
                f"of {trial.planned:,} requests at {rate:,.0f}/s {lost:,} were not answered "
                f"({', '.join(f'{kind}: {count:,}' for kind, count in kinds.items() if count)})"
            )
        trial.gates = validity_checks(trial, max(trial.response_s(0.99) * 1e3, LEAST_P99_MS), None, allow_interference)
        return trial

    trial = sound(measure, [])(rate, min(max(REQUESTS / rate, SHORTEST_S), LONGEST_S), "run")
    return {
        "offered_per_s": rate,
        "p50_ms": trial.response_s(0.5) * 1e3,
        "p99_ms": trial.response_s(0.99) * 1e3,
        "late_ms": trial.lag_s(0.99) * 1e3,
    }


def wire_of(port: int, path: str, body: str, method: str = "POST") -> str:
    host = f"Host: 127.0.0.1:{port}\r\n"
    if not path:
        return f"GET {body} HTTP/1.1\r\n{host}\r\n"
    length = len(body.encode())
    return f"{method} {path} HTTP/1.1\r\n{host}Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"


def wrk(
    folder: Path,
    server: Server,
    port: int,
    path: str,
    bodies: list[str],
    seconds: int,
    connections: int,
    cores: str,
    method: str = "POST",
) -> Round:
    """path "": the bodies are paths of GET requests. Raises ClickException where a request failed."""
    (folder / "bodies").write_text("\n".join(bodies) + "\n")
    (folder / "load.lua").write_text(LUA.replace('"POST"', f'"{method}"') if path else LUA_GET)
    options = f"-t1 -c{connections} -d{seconds}s --timeout {TIMEOUT_S}s".split()
    command = ["taskset", "-c", cores, "wrk", *options]
    command += ["-s", str(folder / "load.lua"), f"http://127.0.0.1:{port}{path}"]
    before_s, own_s = server.cpu_s(), _children_s()
    ran = subprocess.run(command, env={**os.environ, "BODIES": str(folder / "bodies")}, capture_output=True, text=True)
    if ran.returncode:
        raise click.ClickException(f"wrk ended with status {ran.returncode}: {ran.stderr.strip()}")
    spent_s, own_s = server.cpu_s() - before_s, _children_s() - own_s
    found: dict[str, float] = json.loads(ran.stdout.strip().splitlines()[-1])
    if found["bad"] or not found["requests"]:
        raise click.ClickException(f"{server.name}: {found['bad']:g} of {found['requests']:g} requests failed.")
    busy = own_s / found["seconds"]
    if busy > SATURATED:
        click.echo(f"{server.name}: wrk took {busy:.2f} of a core; this measures wrk.", err=True)
    return {
        "per_s": found["requests"] / found["seconds"],
        "p50_ms": found["p50_ms"],
        "p99_ms": found["p99_ms"],
        "cpu_us": spent_s / found["requests"] * 1e6,
        "busy": busy,
    }


def locust(
    folder: Path, server: Server, port: int, path: str, bodies: list[str], seconds: int, connections: int, cores: str
) -> Round:
    """The same load from Locust's faster client."""
    (folder / "bodies").write_text("\n".join(bodies) + "\n")
    (folder / "locustfile.py").write_text(LOCUST)
    command = ["taskset", "-c", cores, sys.executable, "-m", "locust", "-f", str(folder / "locustfile.py")]
    command += ["--headless", "--only-summary", "--json", "-u", str(connections), "-r", str(connections)]
    command += ["-t", f"{seconds + 1}s", "-H", f"http://127.0.0.1:{port}"]
    before_s, own_s, start_s = server.cpu_s(), _children_s(), time.perf_counter()
    ran = subprocess.run(
        command, env={**os.environ, "BODIES": str(folder / "bodies"), "ASK": path}, capture_output=True, text=True
    )
    spent_s, own_s, took_s = server.cpu_s() - before_s, _children_s() - own_s, time.perf_counter() - start_s
    found = json.loads(ran.stdout[ran.stdout.index("[") :])[0]
    if ran.returncode or found["num_failures"]:
        raise click.ClickException(f"{server.name}: {found['num_failures']} requests of Locust failed. {ran.stderr}")
    asked_s = found["last_request_timestamp"] - found["start_time"]
    times = {float(ms): count for ms, count in found["response_times"].items()}
    return {
        "per_s": found["num_requests"] / asked_s,
        "p50_ms": _percentile(times, 0.5),
        "p99_ms": _percentile(times, 0.99),
        "cpu_us": spent_s / found["num_requests"] * 1e6,
        "busy": min(1.0, own_s / took_s),
    }


def _percentile(times: dict[float, int], share: float) -> float:
    left = share * sum(times.values())
    for ms, count in sorted(times.items()):
        left -= count
        if left <= 0:
            return ms
    return max(times)


def _children_s() -> float:
    """Processor seconds of the children that have ended and been waited for."""
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def wrk_version() -> str:
    """Raises ClickException where it is not installed."""
    try:
        said = subprocess.run(["wrk", "--version"], capture_output=True, text=True).stdout
    except OSError:
        raise click.ClickException("wrk is not installed; on Debian: apt-get install wrk.") from None
    found = re.search(r"wrk (?:debian/)?(\S+)", said)
    return found[1] if found else "unknown"
