"""What the machine does while the load runs, seen from outside: the service's processes, and everybody else.

The service is found by the port of the URL: whoever listens there, and its children. On another machine nothing of it
is seen, which is said and not guessed.

Other programs are what is left of a CPU's busy time when what the service and the generator used is taken away. Their
processes cannot simply be added up: those that end meanwhile are gone, and a container does not see its neighbours'.
How long a CPU was busy the kernel says in two ways (`/proc/stat`), and the smaller counts. What is not idle is exact
where ticks stop in idle time (NO_HZ), but holds the way into sleep and out of it, some 3 µs each time. What ticks found
busy is a sample, with an error of some 2 % in a few seconds. Interrupts are left out: most are our own traffic.
"""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import json
import math
import os
import socket
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import psutil

from loadtest.record.trial import Interference

# Whoever listens under one of these names passes requests on to a service that is elsewhere and cannot be told.
FORWARDERS = {"docker-proxy", "rootlessport", "slirp4netns", "pasta", "kubectl", "ssh", "sshd", "socat", "nginx",
              "haproxy", "envoy", "caddy", "traefik"}  # fmt: skip


def on_this_machine(host: str | None) -> bool:
    """Whether a host name is this machine's own: a loopback address, or one of its interfaces'."""
    try:
        found = {str(info[4][0]).partition("%")[0] for info in socket.getaddrinfo(host, None)}
    except OSError:
        return False
    own = {each.address.partition("%")[0] for of in psutil.net_if_addrs().values() for each in of}
    return any(ipaddress.ip_address(address).is_loopback or address in own for address in found)


def listeners(url: str) -> list[psutil.Process]:
    """Processes listening at the URL's port on this machine, with their descendants; empty for another host."""
    parts = urlsplit(url)
    return _listening({parts.port or 80}) if on_this_machine(parts.hostname) else []


def _listening(ports: set[int]) -> list[psutil.Process]:
    found: dict[int, psutil.Process] = {}
    with contextlib.suppress(psutil.Error):
        for connection in psutil.net_connections("tcp"):
            port = connection.laddr.port if connection.laddr else None
            if connection.status != psutil.CONN_LISTEN or port not in ports or not connection.pid:
                continue
            for each in family(connection.pid):
                found[each.pid] = each
    return list(found.values())


def asked_by(processes: Sequence[psutil.Process]) -> dict[int, list[psutil.Process]]:
    """The servers of perwatt on this machine that `processes` have connections to: by port, with their descendants. A
    router has one to each of its shards' servers, which it looks at every second."""
    places = set[tuple[str, int]]()
    for process in processes:
        with contextlib.suppress(psutil.Error):
            connections = process.net_connections("tcp")
            places |= {(each.raddr.ip, each.raddr.port) for each in connections if each.raddr}
    found = {}
    for host, port in sorted(places):
        if port in found or not on_this_machine(host):
            continue
        there = _listening({port})
        if there and _is_perwatt(host, port):
            found[port] = there
    return found


def _is_perwatt(host: str, port: int) -> bool:
    """Routers talk to others too: collectors of traces, stores."""
    there = http.client.HTTPConnection(host, port, timeout=5)
    try:
        there.request("GET", "/livez")
        return bool(json.loads(there.getresponse().read(100)) == {"status": "alive"})
    except (OSError, ValueError, http.client.HTTPException):
        return False
    finally:
        there.close()


def family(pid: int) -> list[psutil.Process]:
    """A process and its descendants; empty when it is gone."""
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    return []


def _names(processes: Sequence[psutil.Process]) -> set[str]:
    found = set()
    for process in processes:
        with contextlib.suppress(psutil.Error):
            found.add(process.name())
    return found


class CpuTime(NamedTuple):
    """Seconds of one CPU since the machine started. busy: in programs; idle: nothing to do, or waiting for a disk; irq:
    interrupts."""

    busy_s: float
    idle_s: float
    irq_s: float
    stolen_s: float


def cpu_times(root: Path = Path("/")) -> dict[int, CpuTime]:
    """Of every CPU by its number, from `/proc/stat`; empty where that says nothing (other systems, some sandboxes)."""
    try:
        lines = (root / "proc/stat").read_text("ascii").splitlines()
    except OSError:
        return {}
    tick_s = 1 / os.sysconf("SC_CLK_TCK")
    found = {}
    for name, *fields in (line.split() for line in lines if line.startswith("cpu")):
        if name != "cpu" and len(fields) >= 8 and any(int(field) for field in fields):
            user, nice, system, idle, wait, irq, soft, stolen, *_ = (int(field) * tick_s for field in fields)
            found[int(name[3:])] = CpuTime(user + nice + system, idle + wait, irq + soft, stolen)
    return found


def left_over(
    whose: str, cpus: set[int], wall_s: float, before: dict[int, CpuTime], after: dict[int, CpuTime], used_s: float
) -> Interference | None:
    """What is left of the CPUs' time, of `wall_s` each, for other programs; None where the CPUs are not counted."""
    cpus = cpus & before.keys() & after.keys()
    if not cpus:
        return None
    busy_s, idle_s, irq_s, stolen_s = (sum(after[cpu][i] - before[cpu][i] for cpu in cpus) for i in range(4))
    others_s = min(busy_s, wall_s * len(cpus) - idle_s - irq_s - stolen_s) - used_s
    return Interference(whose, len(cpus), round(max(others_s, 0.0) / wall_s, 4), round(max(stolen_s, 0.0) / wall_s, 4))


class OwnProcesses:
    """Processes that belong to the run and the CPUs they may use; `begin` and `end` bound what is looked at."""

    def __init__(self, whose: str, processes: Sequence[psutil.Process]) -> None:
        self.whose = whose
        self.processes = {process.pid: process for process in processes}
        self.cpus: set[int] = set()
        for process in processes:
            with contextlib.suppress(psutil.Error, AttributeError):  # there is no affinity on macOS
                self.cpus |= set(process.cpu_affinity())

    def begin(self) -> None:
        self._from = time.monotonic(), cpu_times(), self._used_s()

    def end(self) -> Interference | None:
        """None when it cannot be said: the CPUs are not counted here, or a process of ours is gone."""
        (began, before, used_s), now, after, used_now_s = self._from, time.monotonic(), cpu_times(), self._used_s()
        if used_s is None or used_now_s is None:
            return None
        return left_over(self.whose, self.cpus, now - began, before, after, used_now_s - used_s)

    def _used_s(self) -> float | None:
        try:
            return sum(sum(process.cpu_times()[:2]) for process in self.processes.values())
        except psutil.Error:
            return None


def sides(service: Sequence[psutil.Process], generator: Sequence[psutil.Process], local: bool) -> list[OwnProcesses]:
    """Who is to be left in peace: the service and the generator, as one where their CPUs are not apart.

    local: the service runs on this machine. When it does and its processes are not seen, nobody can be told from it.
    """
    if local and not service:
        return []
    found = [OwnProcesses(whose, of) for whose, of in (("service", service), ("generator", generator)) if of]
    if len(found) == 2 and found[0].cpus & found[1].cpus:
        return [OwnProcesses("service and generator", [*service, *generator])]
    return found


def busiest(ours: Sequence[psutil.Process], seconds: float = 0.3, most: int = 3) -> str:
    """The other programs that use most CPU right now: "cc1plus 0.98, chrome 0.21" of a core; empty when none does."""
    known = {os.getpid(), *(process.pid for process in ours)}

    def used() -> dict[int, tuple[float, str]]:
        found = {}
        for process in psutil.process_iter(["cpu_times", "name"]):
            if process.pid not in known and process.info["cpu_times"] is not None:
                found[process.pid] = sum(process.info["cpu_times"][:2]), process.info["name"]
        return found

    before, began = used(), time.monotonic()
    time.sleep(seconds)
    shares = [
        ((spent_s - before.get(pid, (0.0, ""))[0]) / (time.monotonic() - began), name)
        for pid, (spent_s, name) in used().items()
    ]
    return ", ".join(f"{name} {share:.2f}" for share, name in sorted(shares, reverse=True)[:most] if share >= 0.05)


class Watcher:
    """Watches over [start, stop) of time.monotonic(), in a thread: the service's CPU and memory, and other programs.

    generator: the process id of the generator, whose children are its own; None when nothing is sent.
    behind: the URL of a database that is asked through the service, and is part of it.
    routed: the URL is a router's; the servers that it asks are part of it, as far as they are on this machine.
    """

    def __init__(self, url: str, generator: int | None = None, behind: str | None = None, routed: bool = False) -> None:
        found = {each.pid: each for place in (url, behind) if place for each in listeners(place)}
        asked = asked_by(list(found.values())) if routed else {}
        self.servers = len(asked)
        self._processes = list((found | {each.pid: each for there in asked.values() for each in there}).values())
        self.watched = "not on this machine"
        if forwarding := _names(self._processes) & FORWARDERS:
            self.watched = f"behind {', '.join(sorted(forwarding))}"
            self._processes, self.servers = [], 0
        self._local = on_this_machine(urlsplit(url).hostname)
        self._generator = generator
        self._thread: threading.Thread | None = None
        self._cut = threading.Event()
        self._stop = math.inf
        self.cores_used: float | None = None
        self.cores_now: float | None = None
        self.rss_bytes: list[int] = []
        self.interference: list[Interference] = []

    def begin(self, start: float, stop: float) -> None:
        """The window is agreed, so all processes of the generator are there."""
        if self._processes:
            more = f" and of {self.servers} servers behind it" if self.servers else ""
            self.watched = f"{len(self._processes)} processes at the port{more}"
        self._sides = sides(self._processes, family(self._generator) if self._generator else [], self._local)
        if self._processes or self._sides:
            self._stop = stop
            self._thread = threading.Thread(target=self._run, args=(start, stop), daemon=True)
            self._thread.start()

    def cut(self, stop: float) -> None:
        """The window ends at `stop` already, which is still to come."""
        self._stop = stop
        self._cut.set()

    def _run(self, start: float, stop: float) -> None:
        time.sleep(max(start - time.monotonic(), 0))
        began, before = time.monotonic(), self._cpu_s()
        for side in self._sides:
            side.begin()
        step_s = max((stop - start) / 3600, 1.0)  # at most 3600 values, also of a long soak
        latest = began, before
        while (left := self._stop - time.monotonic()) > 0:
            if self._processes:
                self.rss_bytes.append(self._rss())
                now, used_s = time.monotonic(), self._cpu_s()
                if now > latest[0] + step_s / 2:
                    self.cores_now = round((used_s - latest[1]) / (now - latest[0]), 4)
                    latest = now, used_s
            if self._cut.wait(min(left, step_s)):
                time.sleep(max(self._stop - time.monotonic(), 0))
        self.interference = [found for side in self._sides if (found := side.end()) is not None]
        if self._processes:
            self.cores_used = round((self._cpu_s() - before) / (time.monotonic() - began), 4)

    def _cpu_s(self) -> float:
        total = 0.0
        for process in self._processes:
            with contextlib.suppress(psutil.Error):
                times = process.cpu_times()
                total += times.user + times.system
        return total

    def _rss(self) -> int:
        total = 0
        for process in self._processes:
            with contextlib.suppress(psutil.Error):
                total += process.memory_info().rss
        return total

    def join(self) -> None:
        if self._thread is not None:
            self._thread.join(5)
