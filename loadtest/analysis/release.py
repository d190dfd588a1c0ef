"""Two releases of one arm: what is different about them, and which stage of the route became slower, with interval.

The verdict is that of `unpaired`. The stages are means that the service itself told of sampled answers
(Server-Timing), at the rate that each run confirmed; one value a run, so that their interval holds the noise between
runs. A stage may be slower while the whole is not, and the other way round: times of stages are no verdict.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np

from loadtest.analysis.engines import effort_in_words, settings_in_words
from loadtest.analysis.reading import Reading
from loadtest.analysis.unpaired import Unpaired, compare_unpaired, welch


class Difference(msgspec.Struct, frozen=True):
    """`before` and `after` in words."""

    what: str
    before: str
    after: str


class Quantity(msgspec.Struct, frozen=True):
    """One quantity of both releases; `ratio` is new over old, and what is `unit` "q/s" is better when it is higher."""

    what: str
    before: float
    after: float
    ratio: float
    low: float
    high: float
    unit: str = "s"

    @property
    def word(self) -> str:
        """slower, faster, or what the interval leaves open."""
        if not math.isfinite(self.high):
            return "too few runs to tell"
        more, less = ("faster", "slower") if self.unit == "q/s" else ("slower", "faster")
        return more if self.low > 1 else less if self.high < 1 else "no difference seen"


class Release(msgspec.Struct, frozen=True):
    arm: str
    route: str
    verdict: Unpaired
    margin: float
    changes: tuple[Difference, ...]
    steps: tuple[Quantity, ...]
    runs: tuple[int, int]  # new, old


def compare_releases(new: Sequence[Reading], old: Sequence[Reading], margin: float) -> Release:
    """RecordError when they were asked different questions."""
    verdict = compare_unpaired(new, old, margin)
    steps = [step for what, unit, value in _quantities(new, old) if (step := _step(what, unit, value, new, old))]
    changes = tuple(_changes(new, old))
    return Release(new[0].arm, _route(new[0]), verdict, margin, changes, tuple(steps), (len(new), len(old)))


Value = Callable[[Reading], float | None]


def _quantities(new: Sequence[Reading], old: Sequence[Reading]) -> list[tuple[str, str, Value]]:
    def time(q: float) -> Value:
        return lambda run: run.trial.response_s(q) if run.trial else None

    def cpu(run: Reading) -> float | None:
        server = run.trial.server if run.trial else None
        return server.cpu_ms_mean / 1e3 if server is not None and server.cpu_ms_mean else None

    def stage(name: str) -> Value:
        def of(run: Reading) -> float | None:
            server = run.trial.server if run.trial else None
            spent_ms = server.stages_ms.get(name) if server is not None else None
            return spent_ms / 1e3 if spent_ms else None

        return of

    served = [run.trial.server for run in (*new, *old) if run.trial and run.trial.server]
    stages = list(dict.fromkeys(name for server in served for name in server.stages_ms))
    return [
        ("rate at the objective", "q/s", lambda run: run.capacity.qps if run.capacity else None),
        ("p50", "s", time(0.5)),
        ("p99", "s", time(0.99)),
        ("CPU a query", "s", cpu),
        *((f"stage {name}", "s", stage(name)) for name in stages),
    ]


def _step(what: str, unit: str, value: Value, new: Sequence[Reading], old: Sequence[Reading]) -> Quantity | None:
    sides = [[found for run in side if (found := value(run)) is not None and 0 < found < math.inf]
             for side in (new, old)]  # fmt: skip
    if not all(sides):
        return None
    logs = [np.log(np.asarray(side, np.float64)) for side in sides]
    after, before = (float(np.exp(side.mean())) for side in logs)
    return Quantity(what, before, after, *welch(logs[0], logs[1]), unit=unit)


def _route(run: Reading) -> str:
    served, asked = run.record.served, run.record.asked
    what = f"search of {served.index}" if served is not None else "search"
    details = [asked.kind, asked.mode or "", f"k = {asked.k}"] if asked is not None else []
    return f"{what} ({', '.join(detail for detail in details if detail)})" if details else what


def _changes(new: Sequence[Reading], old: Sequence[Reading]) -> list[Difference]:
    """Of everything that the records tell of what served, where the two sides' sets of values differ."""
    sides = [[_facts(run) for run in side] for side in (old, new)]
    names = list(dict.fromkeys(name for side in sides for facts in side for name in facts))
    found = []
    for name in names:
        before, after = (", ".join(sorted({facts.get(name, "not told") for facts in side})) for side in sides)
        if before != after:
            found.append(Difference(name, before, after))
    return found


def _facts(run: Reading) -> dict[str, str]:
    record = run.record
    facts: dict[str, str] = {}
    if (served := record.served) is not None:
        facts |= {"image": served.image or "not told", "index": served.generation or "not told"}
        facts |= _flat("", msgspec.to_builtins(served.version))
        if served.settings is not None:
            facts["index settings"] = settings_in_words(served.settings)
    if run.trial is not None:
        facts["search effort"] = effort_in_words(record, run.trial)
    if (server := record.server) is not None:
        facts |= {"processor": server.cpu, "Linux": server.kernel, "instruction sets": " ".join(server.isa)}
    facts["load test"] = record.perwatt
    return facts


def _flat(prefix: str, value: Any) -> dict[str, str]:
    """{"packages": {"numpy": "2.3"}} as {"packages numpy": "2.3"}."""
    if isinstance(value, dict):
        return {
            name: text for key, each in value.items() for name, text in _flat(f"{prefix} {key}".strip(), each).items()
        }
    return {prefix or "version": str(value)} if value is not None else {}
