"""One run: every engine built, loaded and raced, and one JSON object that says all of it.

build    one engine after the other on every core, each in a process of its own that then ends; those that take less
         than a minute once more after that, and the quicker one counts
load     each from its own file into a fresh process; all stay, stopped, until the end
sweep    recall for each k, and which settings are worth timing
race     each case of k and threads, in interleaved rounds
"""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import numpy as np

from embed.vectors.provenance import installed, now_utc
from index import kernels, machine
from index.bench.ann.engine import Entry
from index.bench.ann.race import TARGETS, RaceCase, Runner, at_targets, race
from index.bench.ann.targets import reached
from index.bench.ann.vectors import AnnWorkload, truth
from index.bench.ann.workers import BUILD_SECONDS, SEARCH_SECONDS, EngineFailedError, EngineProcess
from index.bench.errors import BenchError
from index.progress import Progress, say

FORMAT = 1
QUICK_SECONDS = 60.0  # a build that takes longer is made once
ROUNDS = 5
BUDGET_SECONDS = 1.2  # for all rounds of a setting in a case
SECONDS_A_PASS = 0.6  # a pass that would take longer answers fewer queries
# Loading may need this many times the file for a while: float32 vectors and the codes made of them, for one.
LOADING = 1.6


def measure(
    load: AnnWorkload,
    entries: Sequence[Entry],
    *,
    ks: Sequence[int] = (10, 100),
    threads: Sequence[int] = (),
    rounds: int = ROUNDS,
    show: bool = False,
) -> dict[str, Any]:
    """Measures `entries` on `load`: {"vectors", "machine", "versions", "engines", "failed", "reached", …}.

    `threads` of searches defaults to one and all cores; builds take all cores. An engine that cannot take part is in
    "failed" with its reason. Raises BenchError for a k that the rows do not allow.
    """
    threads = sorted(set(threads)) or sorted({1, machine.cores()})
    ks = sorted(set(ks))
    for k in ks:
        if not 1 <= k <= len(load.rows) // 4:
            raise BenchError(f"k is {k} with {len(load.rows):,} rows; expected 1 to a quarter of them.")
    started, busy = time.monotonic(), os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="perwatt-ann-") as scratch, ExitStack() as living:
        run = _AnnRun(load, Path(scratch), machine.cores(), show=show)
        run.prepare(ks)
        built = [entry for entry in entries if run.build(entry)]
        for entry in built:
            run.build_again(entry)
        runners = [runner for entry in built if (runner := run.load(entry, living))]
        for k in ks:
            run.learn(runners, k)
        for case in (RaceCase(k, count) for k in ks for count in threads):
            run.race(runners, case, rounds, draw=case == RaceCase(ks[0], threads[0]))
        for runner in runners:
            run.remember(runner)
    engines = run.figures(built, runners)
    return {
        "format": FORMAT,
        "measured_at": now_utc(),
        "seconds": round(time.monotonic() - started),
        "vectors": {
            "name": load.name,
            "rows": len(load.rows),
            "dim": load.rows.shape[1],
            "metric": load.metric,
            "queries": len(load.queries),
        },
        "machine": {
            "arch": platform.machine(),
            "cpu": machine.processor_name(),
            "cores": machine.cores(),
            "memory_bytes": machine.memory_limit_bytes(),
            "isa": kernels.info()["isa"],
            "kernel": os.uname().release,
            "load_average": round(busy, 1),  # when the run began: what else was going on
        },
        "versions": {name: installed(name) for name in sorted({"numpy", *(entry.package for entry in entries)})},
        "targets": list(TARGETS),
        "k": ks,
        "threads": threads,
        "rounds": rounds,
        "engines": engines,
        "failed": run.failed,
        "reached": reached(engines),
    }


class _AnnRun:
    """The state of one run: what was built where, and who fell out."""

    def __init__(self, load: AnnWorkload, scratch: Path, threads: int, *, show: bool) -> None:
        self._load, self._scratch, self._threads, self._show = load, scratch, threads, show
        self._builds: dict[str, dict[str, Any]] = {}
        self._memory: dict[str, dict[str, Any]] = {}
        self.failed: list[dict[str, str]] = []

    def prepare(self, ks: Sequence[int]) -> None:
        rows, dim = self._load.rows.shape
        say(f"{self._load.name}: {rows:,} × {dim}, {self._load.metric}; finding the truth", show=self._show)
        np.save(self._scratch / "vectors.npy", self._load.rows)
        np.save(self._scratch / "queries.npy", self._load.queries)
        for k in ks:
            np.save(self._truth(k), truth(self._load, k, self._threads))
        self._ks = list(ks)

    def build(self, entry: Entry) -> bool:
        if self._load.metric not in entry.metrics:
            return self._fail(entry, f"it has no {self._load.metric} for vectors like these")
        if installed(entry.package) is None:
            return self._fail(entry, f"{entry.package} is not installed (pip install {entry.package})")
        if entry.built_as in self._builds:
            self._builds[entry.name] = self._builds[entry.built_as]
            return True
        folder = self._scratch / (entry.built_as or entry.name)
        folder.mkdir()
        try:
            figures = self._built(entry, folder)
        except EngineFailedError as error:
            shutil.rmtree(folder)
            return self._fail(entry, str(error))
        self._builds[entry.name] = figures
        say(f"{entry.label}: built in {figures['seconds']:.1f} s", show=self._show)
        return True

    def build_again(self, entry: Entry) -> None:
        """Where that was quick: what else the machine did meanwhile is then in one of two figures."""
        first = self._builds[entry.name]
        if entry.built_as or first["seconds"] > QUICK_SECONDS:
            return
        with tempfile.TemporaryDirectory(dir=self._scratch) as folder, suppress(EngineFailedError):
            second = self._built(entry, Path(folder))
            say(f"{entry.label}: built again in {second['seconds']:.1f} s", show=self._show)
            quicker = min(first, second, key=lambda each: each["seconds"])
            first |= {"times": 2} | {key: quicker[key] for key in ("seconds", "cpu_seconds", "peak_growth_bytes")}

    def _built(self, entry: Entry, folder: Path) -> dict[str, Any]:
        order = {"vectors": str(self._scratch / "vectors.npy"), "metric": self._load.metric, "folder": str(folder)}
        with self._process(entry) as process:
            return process.ask("build", BUILD_SECONDS, threads=self._threads, **order)

    def load(self, entry: Entry, living: ExitStack) -> Runner | None:
        need, there = self._builds[entry.name]["file_bytes"] * LOADING, machine.memory_available_bytes()
        if need > there:
            self._fail(
                entry,
                f"it may need {need / 2**30:.1f} GiB beside the others, and {there / 2**30:.1f} GiB are left; "
                f"measure it with fewer others (--peers) or fewer rows",
            )
            return None
        rows, dim = self._load.rows.shape
        try:
            process = living.enter_context(self._process(entry))
            self._memory[entry.name] = process.ask(
                "load",
                BUILD_SECONDS,
                folder=str(self._scratch / (entry.built_as or entry.name)),
                rows=rows,
                dim=dim,
                metric=self._load.metric,
                queries=str(self._scratch / "queries.npy"),
                truth={k: str(self._truth(k)) for k in self._ks},
            )
        except EngineFailedError as error:
            self._fail(entry, str(error))
            return None
        return Runner(entry, process)

    def learn(self, runners: list[Runner], k: int) -> None:
        with Progress(f"recall@{k}", len(runners), "engines", show=self._show) as progress:
            for runner in [*runners]:
                try:
                    runner.learn(k, self._threads)
                except EngineFailedError as error:
                    self._drop(runners, runner, error)
                progress.add(1)

    def race(self, runners: list[Runner], case: RaceCase, rounds: int, *, draw: bool) -> None:
        for runner in runners:
            if runner.takes_part(case):
                runner.enter(case, len(self._load.queries), SECONDS_A_PASS, draw=draw)
        label = f"k {case.k}, {case.threads} thread{'s' * (case.threads > 1)}"
        with Progress(label, rounds * len(runners), "turns", show=self._show) as progress:
            race(
                runners,
                case,
                rounds,
                BUDGET_SECONDS,
                lambda runner, error: self._drop(runners, runner, error),
                lambda: progress.add(1),
            )

    def remember(self, runner: Runner) -> None:
        """What it takes after all those searches, in the process that did them."""
        try:
            self._memory[runner.entry.name] = runner.process.ask("memory", SEARCH_SECONDS)
        except EngineFailedError as error:
            self._fail(runner.entry, str(error))

    def figures(self, built: list[Entry], runners: list[Runner]) -> list[dict[str, Any]]:
        known = {runner.entry.name: runner for runner in runners}
        return [self._figures(entry, known[entry.name]) for entry in built if entry.name in known]

    def _figures(self, entry: Entry, runner: Runner) -> dict[str, Any]:
        build, memory, rows = self._builds[entry.name], self._memory[entry.name], len(self._load.rows)
        figures: dict[str, Any] = {
            "name": entry.name,
            "label": entry.label,
            "ours": entry.ours,
            "package": entry.package,
            "settings": entry.settings,
            "build": {
                key: float(f"{value:.4g}") if isinstance(value, float) else value for key, value in build.items()
            },
            "bytes_per_vector": {
                "private": round(memory["private_bytes"] / rows),
                "mapped": round(memory["mapped_bytes"] / rows),
                "file": round(build["file_bytes"] / rows),
            },
            "cases": {},
        }
        if "read_by_searches_bytes" in build:
            figures["bytes_per_vector"]["read_by_searches"] = round(build["read_by_searches_bytes"] / rows)
        for case, timed in runner.timed.items():
            points = [one.figures() for one in sorted(timed.values(), key=lambda one: one.recall) if one.seconds]
            figures["cases"][case.name] = {"at": at_targets(timed.values()), "points": points}
        return figures

    def _truth(self, k: int) -> Path:
        return self._scratch / f"truth-{k}.npy"

    def _process(self, entry: Entry) -> EngineProcess:
        return EngineProcess(entry, self._scratch / f"{entry.name}.log")

    def _drop(self, runners: list[Runner], runner: Runner, error: EngineFailedError) -> None:
        runners.remove(runner)
        self._fail(runner.entry, str(error))

    def _fail(self, entry: Entry, reason: str) -> bool:
        self.failed.append({"name": entry.name, "label": entry.label, "reason": reason})
        say(f"{entry.label} is left out: {reason}", show=self._show)
        return False
