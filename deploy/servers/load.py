"""Load on one server: wrk in a closed loop, and how busy it was itself.

A generator that uses up its own core measures itself. wrk says what share of one it took; a round in which that was
more than `SATURATED` says nothing about the server, and is not kept quiet about.
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

from deploy.servers.process import Server

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
    """cpu_us: processor time a request of the server; busy: share of its core that the generator took."""

    per_s: float
    p50_ms: float
    p99_ms: float
    cpu_us: float
    busy: float


def wrk(
    folder: Path,
    server: Server,
    port: int,
    path: str,
    bodies: list[str],
    seconds: int,
    connections: int,
    cores: str,
) -> Round:
    """path "": the bodies are paths of GET requests. Raises ClickException where a request failed."""
    (folder / "bodies").write_text("\n".join(bodies) + "\n")
    (folder / "load.lua").write_text(LUA if path else LUA_GET)
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
