"""Queries a second, measured in rounds: in each, every engine answers once with each of its settings.

The order of the engines turns by one from round to round, and a machine that slows down slows all of them. The fastest
round of a setting counts, and the median stands beside it. A setting that has used up its time is not measured again,
but never fewer than twice; very slow ones answer fewer queries, the same ones for every engine that does.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from index.bench.ann.engine import Entry, Setting
from index.bench.ann.sweep import Tried, candidates, drawn, sweep
from index.bench.ann.workers import SEARCH_SECONDS, EngineFailedError, EngineProcess

TARGETS = (0.90, 0.95, 0.99)
LEAST_ROUNDS, LEAST_QUERIES = 2, 100
DRAWN_POINTS = 8
# Hits that a recall is taken from: with k = 100 a thousand queries tell as much as ten thousand with 10.
JUDGED_HITS = 100_000


class RaceCase(NamedTuple):
    k: int
    threads: int

    @property
    def name(self) -> str:
        return f"k{self.k}_t{self.threads}"


@dataclass
class Timed:
    """One setting in one case."""

    setting: Setting
    recall: float
    queries: int
    seconds: list[float] = field(default_factory=list)  # a pass, one figure a round
    cpu_seconds: list[float] = field(default_factory=list)

    def qps(self) -> float:
        return self.queries / min(self.seconds)

    def spread(self) -> float:
        """How much slower the median round was than the fastest, as a share."""
        return statistics.median(self.seconds) / min(self.seconds) - 1

    def figures(self) -> dict[str, Any]:
        return {
            "recall": round(self.recall, 4),
            "qps": round(self.qps(), 1),
            "spread": round(self.spread(), 3),
            "cpu_us": round(min(self.cpu_seconds, default=0.0) / self.queries * 1e6, 1),
            "effort": list(self.setting),
            "queries": self.queries,
            "rounds": len(self.seconds),
        }


@dataclass
class Runner:
    """A loaded engine, and what is known of it."""

    entry: Entry
    process: EngineProcess
    swept: dict[int, list[Tried]] = field(default_factory=dict)
    timed: dict[RaceCase, dict[Setting, Timed]] = field(default_factory=dict)

    def learn(self, k: int, threads: int) -> None:
        """The recall of its settings at k."""
        order = {"k": k, "threads": threads if self.entry.parallel else 1, "count": JUDGED_HITS // k, "judge": True}

        def attempt(setting: Setting) -> Tried:
            answer = self.process.ask("search", SEARCH_SECONDS, setting=setting, **order)
            return Tried(setting, answer["recall"], answer["seconds"] * order["threads"] / answer["queries"])

        self.swept[k] = sweep(attempt, self.entry.ladder, k, TARGETS)

    def enter(self, case: RaceCase, queries: int, seconds_a_pass: float, *, draw: bool) -> None:
        """Chooses what to time in this case."""
        tried = {one.setting: one for one in self.swept[case.k]}
        wanted = [setting for target in TARGETS for setting in candidates(self.swept[case.k], target)]
        if draw or not wanted:
            wanted += drawn(self.swept[case.k], DRAWN_POINTS)
        self.timed[case] = {}
        for setting in sorted(set(wanted)):
            one = tried[setting]
            fits = int(seconds_a_pass / max(1e-9, one.seconds))
            count = min(queries, max(LEAST_QUERIES, fits))
            self.timed[case][setting] = Timed(setting, one.recall, count)

    def measure(self, case: RaceCase, budget_seconds: float) -> None:
        """One round of the case."""
        for timed in self.timed[case].values():
            if len(timed.seconds) >= LEAST_ROUNDS and sum(timed.seconds) > budget_seconds:
                continue
            order = {"k": case.k, "setting": timed.setting, "threads": case.threads, "count": timed.queries}
            answer = self.process.ask("search", SEARCH_SECONDS, **order)
            timed.seconds.append(answer["seconds"])
            timed.cpu_seconds.append(answer["cpu_seconds"])

    def takes_part(self, case: RaceCase) -> bool:
        return case.threads == 1 or self.entry.parallel


def race(
    runners: list[Runner],
    case: RaceCase,
    rounds: int,
    budget_seconds: float,
    failed: Callable[[Runner, EngineFailedError], None],
    tick: Callable[[], None],
) -> None:
    """Measures `case` in all runners that it suits; one that fails is handed to `failed` and measured no more."""
    running = [runner for runner in runners if runner.takes_part(case)]
    for number in range(rounds):
        turn = number % max(1, len(running))
        for runner in [*running[turn:], *running[:turn]]:
            try:
                runner.measure(case, budget_seconds)
            except EngineFailedError as error:
                running.remove(runner)
                failed(runner, error)
            tick()


def at_targets(timed: Iterable[Timed]) -> dict[str, dict[str, Any] | None]:
    """For each target the fastest of the settings that reach it, None where none does."""
    measured = [one for one in timed if one.seconds]
    found: dict[str, dict[str, Any] | None] = {}
    for target in TARGETS:
        good = [one for one in measured if one.recall >= target]
        found[f"{target:.2f}"] = max(good, key=Timed.qps).figures() if good else None
    return found
