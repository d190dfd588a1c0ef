"""One run: every contender built, its settings chosen, and timed under the limit in rounds; one JSON object of it."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from embed.vectors.provenance import installed, now_utc
from index import machine
from index.bench.ann.engine import Entry, Setting
from index.bench.ann.sweep import Tried, candidates, sweep
from index.bench.ann.vectors import AnnWorkload, truth
from index.bench.ann.workers import EngineFailedError, EngineProcess
from index.bench.build import grown
from index.bench.changes import loaded
from index.bench.disk.contenders import CONTENDERS
from index.bench.disk.limit import memory_group
from index.bench.disk.pages import evict, require_disk
from index.bench.errors import BenchError
from index.progress import say

ROWS, K, TARGET = 1_000_000, 10, 0.95
BYTES_A_ROW = 4 * 2**30 / 10_000_000  # of the limit: 4 GiB for ten million
ROUNDS = 3
JUDGED = 1000  # queries that settings are chosen by; the first of all
COLD, FILLING, WARM = 200, 1200, 500  # queries of a timed pass, one after the other
BUILD_SECONDS, ASK_SECONDS = 4 * 3600, 3600
_ATTEMPTS = 2  # settings of a contender that are timed, at most


def measure(
    source: Path | None = None,
    rows: int = ROWS,
    rounds: int = ROUNDS,
    names: Sequence[str] = (),
    limit_bytes: int | None = None,
    work: Path | None = None,
    entries: Sequence[Entry] = CONTENDERS,
    threads: int | None = None,
    *,
    show: bool = False,
) -> dict[str, Any]:
    """Figures with the unit in their name.

    Args:
        source: As `perwatt bench ann` takes it; by default WordNet's embeddings in $PERWATT_DATA.
        names: Of contenders; none for all.
        limit_bytes: Of memory; by default BYTES_A_ROW for each row.
        work: Keep what is built here, for the next time. A folder on a disk.
        threads: Of a build; by default all cores. On a machine that is busy, libraries that wait for all their
            threads at every step take many times as long with more than one.

    Raises BenchError for vectors, names or a folder that cannot be used.
    """
    if unknown := set(names) - {entry.name for entry in entries}:
        raise BenchError(f"{', '.join(sorted(unknown))}: expected some of {', '.join(each.name for each in entries)}")
    started, load = time.monotonic(), loaded(source)
    limit_bytes = limit_bytes or round(rows * BYTES_A_ROW)
    with ExitStack() as stack:
        folder = work or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="perwatt-disk-")))
        place = folder / f"disk-{rows}-{load.rows.shape[1]}-{load.key}"
        run = _DiskRun(load, rows, place, limit_bytes, threads or machine.cores(), show=show)
        for entry in (each for each in entries if not names or each.name in names):
            run.prepare(entry)
        for _ in range(rounds):
            run.round()
    return {
        "measured_at": now_utc(),
        "seconds": round(time.monotonic() - started),
        "vectors": load.name,
        "real_rows": min(len(load.rows), rows),
        "rows": rows,
        "dim": load.rows.shape[1],
        "k": K,
        "target": TARGET,
        "rounds": rounds,
        "queries": {"judged": JUDGED, "cold": COLD, "filling": FILLING, "warm": WARM},
        "limit_bytes": limit_bytes,
        "limit_kind": run.kind,
        "memory_bytes": machine.memory_limit_bytes(),
        "versions": {entry.package: installed(entry.package) for entry in entries},
        "contenders": run.figures(),
        "failed": run.failed,
    }


class _Raced:
    """A contender that was built, the settings that are timed, and what was measured of each."""

    def __init__(self, entry: Entry, build: dict[str, Any], tried: list[Tried]) -> None:
        self.entry, self.build = entry, build
        settings = candidates(tried, TARGET)[:_ATTEMPTS] or [max(tried, key=lambda one: one.recall).setting]
        self.recalls = {one.setting: one.recall for one in tried if one.setting in settings}
        self.measured: dict[Setting, list[dict[str, Any]]] = {setting: [] for setting in settings}

    def figures(self) -> dict[str, Any]:
        """Of the setting that is the fastest when warm."""
        setting, rounds = min(self.measured.items(), key=lambda each: min(_us(one["warm"]) for one in each[1]))
        return {
            "name": self.entry.name,
            "label": self.entry.label,
            "settings": self.entry.settings,
            "ours": self.entry.ours,
            "build": self.build,
            "recall": round(self.recalls[setting], 4),
            "effort": list(setting),
            **{name: _passes([one[name] for one in rounds]) for name in ("cold", "warm")},
            "before_bytes": rounds[-1]["before_bytes"],
            "memory": rounds[-1]["memory"],
        }


def _us(asked: dict[str, Any]) -> float:
    return float(asked["seconds"] / asked["queries"] * 1e6)


def _passes(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """Of the same queries in each round: the quickest, the least processor time, and what was read in the last."""
    quickest, last = min(rounds, key=_us), rounds[-1]
    count = last["queries"]
    return {
        "queries_per_s": round(1e6 / _us(quickest), 1),
        "others": round(quickest["others"], 2),  # what else ran, as a share of all processors
        "cpu_us": round(min(one["cpu_seconds"] for one in rounds) / count * 1e6, 1),
        "reads": round(last["reads"] / count, 1),
        "faults": round(last["faults"] / count, 1),
        "read_kib": round(last["read_bytes"] / count / 1024, 1),
        "recall": round(last["recall"], 4),
    }


class _DiskRun:
    def __init__(
        self, load: AnnWorkload, rows: int, folder: Path, limit_bytes: int, threads: int, *, show: bool
    ) -> None:
        if len(load.queries) < COLD + FILLING + WARM:
            raise BenchError(f"{len(load.queries):,} queries are too few; expected {COLD + FILLING + WARM:,}")
        self._folder, self._limit_bytes, self._threads, self._show = folder, limit_bytes, threads, show
        self._shape, self._metric = (rows, load.rows.shape[1]), load.metric
        self._racing: list[_Raced] = []
        self.failed: list[dict[str, str]] = []
        self.kind = ""
        folder.mkdir(parents=True, exist_ok=True)
        require_disk(folder)
        self._vectors, self._queries, self._truth = (folder / f"{each}.npy" for each in ("vectors", "queries", "truth"))
        if not self._truth.exists():
            say(f"{load.name}: to {rows:,} × {self._shape[1]}; finding the truth", show=show)
            whole = AnnWorkload(load.name, grown(load.rows, rows), load.queries, load.metric)
            np.save(self._vectors, whole.rows)
            np.save(self._queries, whole.queries)
            np.save(self._truth, truth(whole, K, machine.cores()))

    def prepare(self, entry: Entry) -> None:
        """Builds it and chooses its settings, where neither was done before."""
        known = self._folder / f"{entry.name}.json"
        try:
            if not known.exists():
                known.write_text(json.dumps(self._prepared(entry)))
            was = json.loads(known.read_text())
        except EngineFailedError as error:
            self._fail(entry, str(error))
            return
        tried = [Tried(Setting(*setting), recall, seconds) for setting, recall, seconds in was["tried"]]
        self._racing.append(_Raced(entry, was["build"], tried))

    def _prepared(self, entry: Entry) -> dict[str, Any]:
        if installed(entry.package) is None:
            raise EngineFailedError(f"{entry.package} is not installed (pip install {entry.package})")
        if self._metric not in entry.metrics:
            raise EngineFailedError(f"it has no {self._metric} for vectors like these")
        build = self._built(entry)
        with self._process(entry) as process:
            process.ask("load", ASK_SECONDS, **self._order(entry))

            def attempt(setting: Setting) -> Tried:
                how = {"k": K, "setting": setting, "threads": 1, "count": JUDGED, "judge": True}
                answer = process.ask("search", ASK_SECONDS, **how)
                return Tried(setting, answer["recall"], answer["cpu_seconds"] / answer["queries"])

            tried = sweep(attempt, entry.ladder, K, (TARGET,), enough=TARGET)
        return {"build": build, "tried": [list(one) for one in tried]}

    def _built(self, entry: Entry) -> dict[str, Any]:
        """What its build took; kept as soon as it is there, since settings may take an hour to be chosen."""
        folder, kept = self._folder / entry.name, self._folder / f"{entry.name}-build.json"
        if kept.exists():
            return dict(json.loads(kept.read_text()))
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        where = {"metric": self._metric, "folder": str(folder)}
        with self._process(entry) as process:
            order = {"vectors": str(self._vectors), "threads": self._threads}
            build = process.ask("build", BUILD_SECONDS, **order, **where)
        kept.write_text(json.dumps(build))
        say(f"{entry.label}: built in {build['seconds']:.0f} s", show=self._show)
        return build

    def round(self) -> None:
        for raced in list(self._racing):
            for setting, measured in raced.measured.items():
                try:
                    measured.append(self._timed(raced.entry, setting))
                except EngineFailedError as error:
                    self._racing.remove(raced)
                    self._fail(raced.entry, str(error))
                    break

    def _timed(self, entry: Entry, setting: Setting) -> dict[str, Any]:
        evict(self._folder / entry.name)
        with memory_group(self._limit_bytes) as group, self._process(entry) as process:
            self.kind = group.kind
            joined = {"group": str(group.folder) if group.folder else None, "limit_bytes": group.limit_bytes}
            before = process.ask("load", ASK_SECONDS, **self._order(entry), **joined)["before_bytes"]

            def asked(first: int, count: int) -> dict[str, Any]:
                return process.ask("ask", ASK_SECONDS, k=K, setting=setting, first=first, count=count)

            cold = asked(0, COLD)
            asked(COLD, FILLING)
            figures = {"cold": cold, "warm": asked(COLD + FILLING, WARM), "before_bytes": before}
            figures["memory"] = process.ask("used", ASK_SECONDS)
        say(
            f"{entry.label} {list(setting)}: {_us(cold):,.0f} µs cold, {_us(figures['warm']):,.0f} µs warm",
            show=self._show,
        )
        return figures

    def figures(self) -> list[dict[str, Any]]:
        return [raced.figures() for raced in self._racing]

    def _order(self, entry: Entry) -> dict[str, Any]:
        rows, dim = self._shape
        order = {"folder": str(self._folder / entry.name), "rows": rows, "dim": dim, "metric": self._metric}
        return order | {"queries": str(self._queries), "truth": {str(K): str(self._truth)}}

    def _process(self, entry: Entry) -> EngineProcess:
        return EngineProcess(entry, self._folder / f"{entry.name}.log", "index.bench.disk.worker")

    def _fail(self, entry: Entry, reason: str) -> None:
        self.failed.append({"name": entry.name, "label": entry.label, "reason": reason})
        say(f"{entry.label} is left out: {reason}", show=self._show)
