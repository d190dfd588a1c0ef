"""One generator process during one trial: the pump, what it recorded, and how well the process itself kept up.

A ticker of 10 ms does the housekeeping and is the stall probe at the same time: how late it is called is how long the
loop was busy with something else. What the pump collected is counted into histograms twenty times a second, in numpy,
outside the path of a request.

The window is whole seconds long, and the pump's seconds begin with it, so that counters of seconds add up to exactly
the window.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from loadtest.generator.priority import NORMAL
from loadtest.generator.pump import Pump
from loadtest.generator.samples import Sampled, SampleReader
from loadtest.generator.timer import AbsoluteTimer
from loadtest.record.histogram import COUNTS_LEN, Histogram, slots
from loadtest.targets.contract import Target
from loadtest.workload.requests import Workload
from loadtest.workload.truth import Truth

TICK_S = 0.01
FLUSH_TICKS = 5
GRACE_S = 2.0  # beyond the timeout of the last request; what has no fate by then never will
SLICES = 120  # at most; a soak of hours has slices of minutes


class Part(msgspec.Struct, forbid_unknown_fields=True):
    """What one process saw of the window; parts of several processes add up to a trial."""

    planned: int
    shed: int
    missed: int
    answered: int
    errors: dict[str, int]
    response: str
    service: str
    slices: list[tuple[int, int, int, str]]  # planned, answered, unanswered, response
    cpu: list[float]
    lag: str
    stall: str
    sampled: Sampled
    priority: str = NORMAL
    apart_ms: float = 0.0  # how far our clock may be from the master's


class Session:
    """Owned by the Locust process; `begin` with the agreed window; `ended` tells when the part is complete."""

    def __init__(
        self, target: Target, workload: Workload, loop: Any, make_socket: Any, truth: Truth | None = None
    ) -> None:
        plan = workload.plan
        self.plan = plan
        self.pump = Pump(workload, loop, make_socket, frozenset(truth.requests()) if truth is not None else ())
        self.reader = SampleReader(target.read, truth, plan.k)
        self.window = (math.inf, math.inf)
        self._first = math.inf  # the window's first second, as the pump counts them
        self.priority = NORMAL
        self.on_batch: Callable[[NDArray[np.float64], Counter[str]], None] | None = None
        self._response = Histogram()
        self._service = Histogram()
        self._lag = Histogram()
        self._stall = Histogram()
        self._slices: NDArray[np.int64] = np.zeros((0, COUNTS_LEN), np.int64)
        self._shown = Histogram()  # what of the response times was in the last line
        self._told: Counter[str] = Counter()
        self._cpu: list[float] = []
        self._cpu_mark = (time.monotonic(), time.process_time())
        self._stalls: list[float] = []
        self._ticks = 0
        self._answered = 0
        self._tick_at = time.monotonic() + TICK_S
        self._ticker = AbsoluteTimer(loop, self._tick)
        self._ticker.set(self._tick_at)

    def begin(self, window: tuple[float, float]) -> None:
        """Measure [start, stop) of time.monotonic(), whole seconds long, in the future; stop may be inf."""
        self.flush()
        self.pump.planned.clear()  # what was before is none of the window's, and was counted in other seconds
        self.pump.failed.clear()
        self._told.clear()
        self.window = window
        self._first = math.floor(window[0])
        self.pump.zero = window[0] - self._first
        self.pump.stop_at = window[1]
        length_s = window[1] if math.isinf(window[1]) else float(round(window[1] - window[0]))
        self.slice_s = slice_length_s(length_s)
        count = SLICES if math.isinf(length_s) else round(length_s / self.slice_s)
        self._slices = np.zeros((count, COUNTS_LEN), np.int64)

    def stop_now(self) -> None:
        """End the window at its next whole second (someone pressed stop)."""
        start, now = self.window[0], time.monotonic()
        self.end_at(float(math.ceil(now)) if math.isinf(start) else start + math.ceil(now - start))

    def end_at(self, stop: float) -> None:
        """End the window at `stop`, whole seconds, if it does not end before."""
        self.window = (self.window[0], min(self.window[1], stop))
        self.pump.stop_at = self.window[1]

    @property
    def ended(self) -> bool:
        late = time.monotonic() - self.window[1]
        return late >= 0 and (self.pump.in_flight == 0 or late > self.plan.timeout_s + GRACE_S)

    # ---- every 10 ms

    def _tick(self) -> None:
        now = time.monotonic()
        inside = self.window[0] <= now < self.window[1]
        if inside:
            self._stalls.append(now - self._tick_at)
        self._ticks += 1
        self._tick_at = max(self._tick_at + TICK_S, now)
        self._ticker.set(self._tick_at)
        if self._ticks % FLUSH_TICKS == 0:
            self.flush()
            self.pump.sweep()
        elif self.pump.samples:
            self.reader.read(self.pump.samples, self.window, budget=4)
        wall, used = self._cpu_mark
        if int(now) != int(wall):  # the first tick of each second
            cpu = time.process_time()
            if wall >= self.window[0] and now < self.window[1] + 0.5:
                self._cpu.append(round((cpu - used) / (now - wall), 4))
            self._cpu_mark = (now, cpu)

    def flush(self) -> None:
        """Count what has come in since the last time."""
        taken, self.pump.answered = self.pump.answered, []
        triples = np.asarray(taken, dtype=np.float64).reshape(-1, 3)
        due, sent, done = triples.T
        inside = (due >= self.window[0]) & (due < self.window[1])
        if inside.any():
            within = done[inside] - due[inside]
            self._answered += int(inside.sum())
            self._response.record_s(within)
            self._service.record_s(done[inside] - sent[inside])
            self._lag.record_s(sent[inside] - due[inside])
            which = ((due[inside] - self.window[0]) // self.slice_s).astype(np.int64)
            which = np.minimum(which, len(self._slices) - 1)
            np.add.at(self._slices, (which, slots(np.rint(within * 1e6))), 1)
        stalls, self._stalls = self._stalls, []
        self._stall.record_s(stalls)
        if self.on_batch is not None:
            kinds: Counter[str] = Counter()
            for (kind, _), number in list(self.pump.failed.items()):
                kinds[kind] += number
            new = kinds - self._told
            self._told = kinds
            self.on_batch(done - sent, new)

    # ---- results

    def live(self) -> dict[str, float]:
        """Counters for the line that people watch."""
        start = self._first
        recalls, recall_queries = self.reader.recalled()
        latest = Histogram(self._response.counts - self._shown.counts)
        self._shown = Histogram(self._response.counts.copy())
        failed = Counter[str]()
        for (kind, second), number in list(self.pump.failed.items()):
            if second >= start:
                failed[kind] += number
        return {
            "planned": sum(n for second, n in list(self.pump.planned.items()) if second >= start),
            "answered": self._answered,
            "shed": failed.pop("shed", 0),
            "missed": failed.pop("missed", 0),
            "errors": failed.total(),
            "p50_ms": self._response.quantile_s(0.5) * 1e3,
            "p99_ms": self._response.quantile_s(0.99) * 1e3,
            "p99_now_ms": latest.quantile_s(0.99) * 1e3,
            "lag_p99_ms": self._lag.quantile_s(0.99) * 1e3,
            "cpu": self._cpu[-1] if self._cpu else 0.0,
            "recalls": recalls,
            "recall_queries": recall_queries,
        }

    def part(self, apart_s: float = 0.0) -> Part:
        """Everything of the window; call once `ended` is true. apart_s: how far our clock may be from the master's."""
        self.pump.sweep()
        self.flush()
        self.reader.read(self.pump.samples, self.window, budget=len(self.pump.samples))
        first, length_s = self._first, round(self.window[1] - self.window[0])
        errors: Counter[str] = Counter()
        lost: Counter[int] = Counter()
        for (kind, second), number in self.pump.failed.items():
            if first <= second < first + length_s:
                errors[kind] += number
                lost[int((second - first) // self.slice_s)] += number
        planned: Counter[int] = Counter()
        for second, number in self.pump.planned.items():
            if first <= second < first + length_s:
                planned[int((second - first) // self.slice_s)] += number
        used = min(len(self._slices), math.ceil(length_s / self.slice_s))
        slices = []
        for i in range(used):
            histogram = Histogram(self._slices[i])
            slices.append((planned[i], histogram.total, lost[i], histogram.encode()))
        return Part(
            planned=planned.total(),
            shed=errors.pop("shed", 0),
            missed=errors.pop("missed", 0),
            answered=self._response.total,
            errors=dict(sorted(errors.items())),
            response=self._response.encode(),
            service=self._service.encode(),
            slices=slices,
            cpu=self._cpu,
            lag=self._lag.encode(),
            stall=self._stall.encode(),
            sampled=self.reader.result(),
            priority=self.priority,
            apart_ms=round(apart_s * 1e3, 3),
        )

    def close(self) -> None:
        self._ticker.close()
        self.pump.close()


def slice_length_s(window_s: float) -> float:
    """Whole seconds, so many that a window has at most SLICES of them; an endless window has slices of one minute."""
    return 60.0 if math.isinf(window_s) else float(max(math.ceil(window_s / SLICES), 1))
