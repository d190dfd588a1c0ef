"""What the service's processes take of the machine, and what that costs: processor time, joules, dollars.

Processor time is that of all workers, dead ones included: each notes its own once a second, in a row of shared memory
that the worker after it goes on from. Joules are measured where the machine has counters of its processor packages that
may be read (`powercap.py`): they are of the whole machine, so a part of the service has as much of them as it has of
the processor time that the whole machine spent meanwhile. Without counters they are modelled from the watts that the
operator gives for a busy CPU, and without those they are unknown. Dollars are processor time at the price that the
operator gives for an hour of one CPU; what is paid for and not used is in none.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Literal, NamedTuple

from service.telemetry.powercap import POWERCAP, RaplZone, rapl_zones
from service.telemetry.slab import Slab

Evidence = Literal["measured", "modelled", "unknown"]

ZONES = 8  # packages whose counter is followed: one a socket
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_STAT = Path("/proc/stat")
_SINCE, _BUSY_S, _JOULES, _BEFORE_S, _CPU_S, _PID, _LAST_J = range(7)
WIDTH = _LAST_J + ZONES


class Joules(NamedTuple):
    """low and high are those of the operator's watts where they are modelled, else both are `joules`."""

    joules: float
    low: float
    high: float


class Spending:
    """
    Args:
        slab: what is shared with the other workers, None: alone.
        worker: which row is ours; worker 0 follows the counters of the machine.
        cpu_hour_usd: price of an hour of one CPU, None: no dollars.
        cpu_watts: lowest and highest of a busy CPU, None: nothing is modelled.
        here: whether the work is done on this machine; a router's is not.
        powercap: where the counters are.
    """

    def __init__(
        self,
        slab: Slab | None = None,
        worker: int = 0,
        *,
        cpu_hour_usd: float | None = None,
        cpu_watts: tuple[float, float] | None = None,
        here: bool = True,
        powercap: Path | None = None,
    ) -> None:
        self._slab = Slab(WIDTH) if slab is None else slab
        self._row, self._first = self._slab.row(worker), self._slab.row(0)
        self.cpu_hour_usd, self._cpu_watts, self.here = cpu_hour_usd, cpu_watts, here
        row, self._zones = self._row, list[RaplZone]()
        row[_BEFORE_S] = row[_CPU_S]
        row[_PID] = os.getpid()
        if worker == 0:
            self._begin(powercap or POWERCAP)
        self.note()

    def note(self) -> None:
        """Once a second, and when somebody asks."""
        self._row[_CPU_S] = self._row[_BEFORE_S] + time.process_time()
        for number, zone in enumerate(self._zones):
            try:
                now_j = zone.joules()
            except (OSError, ValueError):
                continue
            more_j = now_j - self._row[_LAST_J + number]
            if more_j < 0:
                more_j += zone.wraps_at_j or 0.0
            self._row[_JOULES] += max(0.0, more_j)
            self._row[_LAST_J + number] = now_j

    @property
    def since(self) -> float:
        """Seconds of `time.time` when the service started."""
        return self._first[_SINCE]

    @property
    def evidence(self) -> Evidence:
        if self.here and self._machine() is not None:
            return "measured"
        return "unknown" if self._cpu_watts is None else "modelled"

    def why(self) -> str:
        """What the joules are, or why there are none."""
        if self.evidence == "measured":
            return "of the machine's processor packages, by the share of its processor time"
        if self._cpu_watts is not None:
            low, high = self._cpu_watts
            return f"from {low:g} to {high:g} W for a busy CPU, as the operator gave them"
        if not self.here:
            return "the work is done on the machines of the shards; ask those, or give --cpu-watts"
        return "no counter of the processor packages can be read here, and no --cpu-watts was given"

    def service_cpu_s(self) -> float:
        """Processor time of all workers since the service started, those that died included."""
        total_s = 0.0
        for worker in range(self._slab.workers):
            row = self._slab.row(worker)
            living_s = process_cpu_s(int(row[_PID])) if row[_PID] else None
            total_s += row[_CPU_S] if living_s is None else max(row[_CPU_S], row[_BEFORE_S] + living_s)
        return total_s

    def joules(self, cpu_s: float) -> Joules | None:
        """Of so much processor time; None where they are unknown."""
        machine = self._machine() if self.here else None
        if machine is not None:
            joules, busy_s = machine
            part = joules * cpu_s / max(busy_s, self.service_cpu_s())
            return Joules(part, part, part)
        if self._cpu_watts is None:
            return None
        low, high = (cpu_s * watts for watts in self._cpu_watts)
        return Joules((low + high) / 2, low, high)

    def dollars(self, cpu_s: float) -> float | None:
        return None if self.cpu_hour_usd is None else cpu_s / 3600 * self.cpu_hour_usd

    def _begin(self, powercap: Path) -> None:
        row = self._row
        again = row[_SINCE] > 0  # after a worker that died: the counters went on meanwhile
        for zone in rapl_zones(powercap):
            if zone.is_package and len(self._zones) < ZONES:
                try:
                    now_j = zone.joules()
                except (OSError, ValueError):
                    continue
                if not again:
                    row[_LAST_J + len(self._zones)] = now_j
                self._zones.append(zone)
        if not again:
            row[_BUSY_S] = _busy_s()
            row[_SINCE] = time.time()

    def _machine(self) -> tuple[float, float] | None:
        """Joules and processor seconds of the whole machine since the service started; None without counters."""
        joules = self._first[_JOULES]
        return (joules, _busy_s() - self._first[_BUSY_S]) if joules > 0 else None


def process_cpu_s(pid: int) -> float | None:
    """Processor time of a process, user and system; None when it is not there, or not to be seen."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) * _TICK_S


def _busy_s() -> float:
    """Processor time of the whole machine since it started; user, nice, system and interrupts, without waiting."""
    user, nice, system, _idle, _iowait, irq, softirq = map(int, _STAT.read_text().split()[1:8])
    return (user + nice + system + irq + softirq) * _TICK_S
