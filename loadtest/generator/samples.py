"""Reading a sample of the answers in full: are they the right ones, and what does the service say about itself?

A fast wrong answer is not a fast answer. A few responses a second are decoded outside the path of the requests: their
ids are compared with the exact ones (recall), their generation and model with one another (a switch in mid-run is
seen), and the service's own clock with ours.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec

from loadtest.errors import TargetError
from loadtest.generator.wire import body_of, server_timing_ms
from loadtest.record.histogram import Histogram
from loadtest.targets.contract import SampledAnswer, SampledCoverage
from loadtest.workload.truth import Measure, Truth


class Sampled(msgspec.Struct, forbid_unknown_fields=True):
    """What the sampled answers of one process add up to. `recalls` maps a query's number to its recall, one each."""

    count: int
    unreadable: int
    short: int
    partial: int
    took: str
    service: str
    cpu_ms: list[float]  # sum, count
    scored: list[float]  # sum, count
    tokens: list[float]  # sum, count
    cached: list[float]  # sum, count of answers to texts
    generations: list[str]
    models: list[str]
    recalls: dict[int, float]
    stages_ms: dict[str, list[float]] = {}  # sum, count, of what Server-Timing says
    measure: Measure = "recall"  # what `recalls` are values of


class SampleReader:
    """read: what a target makes of the body of an answer; TargetError: it is none."""

    def __init__(self, read: Callable[[bytes], SampledAnswer], truth: Truth | None, k: int) -> None:
        self._read = read
        self._truth = truth
        self._k = k
        self._took = Histogram()
        self._service = Histogram()
        self._sums: dict[str, list[float]] = {name: [0.0, 0] for name in ("cpu_ms", "vectors_scored", "tokens")}
        self._cached: list[float] = [0.0, 0]
        self._stages_ms: dict[str, list[float]] = {}
        self._generations: set[str] = set()
        self._models: set[str] = set()
        self._recalls: dict[int, float] = {}
        self._counts = {"count": 0, "unreadable": 0, "short": 0, "partial": 0}

    def read(
        self,
        samples: deque[tuple[int, float, float, bytes]],
        window: tuple[float, float],
        budget: int,
    ) -> None:
        """Decode up to `budget` waiting samples; those sent outside the window are dropped."""
        for _ in range(min(budget, len(samples))):
            request, sent, done, raw = samples.popleft()
            if window[0] <= sent < window[1]:
                self._read_one(request, done - sent, raw)

    def _read_one(self, request: int, service_s: float, raw: bytes) -> None:
        self._counts["count"] += 1
        try:
            answer = self._read(body_of(raw))
        except TargetError:
            self._counts["unreadable"] += 1
            self._hold(request, [])
            return
        for stage, spent_ms in server_timing_ms(raw).items():
            sums = self._stages_ms.setdefault(stage, [0.0, 0])
            sums[0] += spent_ms
            sums[1] += 1
        if answer.took_ms is not None:
            self._took.record_s([answer.took_ms / 1e3])
            self._service.record_s([service_s])
        if answer.usage is not None:
            for name, into in self._sums.items():
                value: Any = getattr(answer.usage, name)
                if value is not None:
                    into[0] += value
                    into[1] += 1
            if answer.usage.cached is not None and (answer.usage.tokens or answer.usage.cached):
                self._cached[0] += answer.usage.cached
                self._cached[1] += 1
        self._generations |= {answer.generation} if answer.generation else set()
        self._models |= {answer.model} if answer.model else set()
        coverage = answer.coverage or SampledCoverage()
        wanted = self._k if coverage.survivors is None else min(self._k, coverage.survivors)
        self._counts["short"] += len(answer.hits) < wanted
        self._counts["partial"] += coverage.partial
        self._hold(request, [(hit.id, hit.score) for hit in answer.hits])

    def _hold(self, request: int, hits: list[tuple[str, float]]) -> None:
        """Against what should have been found, where that is known."""
        recall = None if self._truth is None else self._truth.recall(request, hits)
        if recall is not None:
            self._recalls[request] = recall

    def recalled(self) -> tuple[float, int]:
        """The sum of the recalls so far, and of how many queries."""
        return sum(self._recalls.values()), len(self._recalls)

    def result(self) -> Sampled:
        return Sampled(
            count=self._counts["count"],
            unreadable=self._counts["unreadable"],
            short=self._counts["short"],
            partial=self._counts["partial"],
            took=self._took.encode(),
            service=self._service.encode(),
            cpu_ms=self._sums["cpu_ms"],
            scored=self._sums["vectors_scored"],
            tokens=self._sums["tokens"],
            cached=self._cached,
            generations=sorted(self._generations),
            models=sorted(self._models),
            stages_ms=self._stages_ms,
            recalls=dict(sorted(self._recalls.items())),
            measure=self._truth.measure if self._truth is not None else "recall",
        )
