"""Processes in which engines race: those that die are dropped, none outlives its parent, none is awaited for ever."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from racing import clusters, entry, eventually, findable

from index.bench.ann.race import RaceCase
from index.bench.ann.vectors import truth
from index.bench.ann.workers import EngineFailedError, EngineProcess


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    findable(monkeypatch)


def test_one_that_dies_during_the_rounds_is_dropped_from_them(tmp_path: Path) -> None:
    from index.bench.ann.race import Runner, race

    load = clusters()
    paths = {"queries": tmp_path / "queries.npy", "rows": tmp_path / "rows.npy", "truth": tmp_path / "truth.npy"}
    np.save(paths["queries"], load.queries)
    np.save(paths["rows"], load.rows)
    np.save(paths["truth"], truth(load, 10, 1))
    lost: list[tuple[str, str]] = []
    runners = []
    for name in ("first", "second"):
        process = EngineProcess(entry(name), tmp_path / f"{name}.log")
        order = {"folder": str(tmp_path), "rows": 1200, "dim": 64, "metric": "cosine", "queries": str(paths["queries"])}
        process.ask("load", 60, truth={10: str(paths["truth"])}, **order)
        runners.append(Runner(entry(name), process))
        runners[-1].learn(10, 1)
        runners[-1].enter(RaceCase(10, 1), 50, 1.0, draw=True)
    os.kill(runners[0].process.process.pid, signal.SIGKILL)
    case = RaceCase(10, 1)
    race(runners, case, 2, 1.0, lambda runner, error: lost.append((runner.entry.name, str(error))), lambda: None)
    runners[1].process.close()
    runners[0].process.close()
    assert [name for name, _ in lost] == ["first"]
    assert "died of SIGKILL" in lost[0][1]
    assert all(len(each.seconds) == 2 for each in runners[1].timed[case].values())


def test_a_worker_is_stopped_between_orders_and_dies_with_its_parent(tmp_path: Path) -> None:
    process = EngineProcess(entry("plain"), tmp_path / "log")
    status = Path(f"/proc/{process.process.pid}/status")
    assert eventually(lambda: "State:\tT" in status.read_text())
    process.close()
    assert process.process.returncode == 0
    parent = (
        "import sys; from pathlib import Path; from racing import entry\n"
        "from index.bench.ann.workers import EngineProcess\n"
        f"process = EngineProcess(entry('plain'), Path({str(tmp_path / 'other')!r}))\n"
        "print(process.process.pid, flush=True); import os; os._exit(0)"
    )
    ran = subprocess.run([sys.executable, "-c", parent], capture_output=True, text=True, check=True)
    orphan = Path(f"/proc/{int(ran.stdout)}/status")

    def ended() -> bool:
        try:
            return "State:\tZ" in orphan.read_text()
        except (FileNotFoundError, ProcessLookupError):
            return True

    assert eventually(ended)


def test_no_answer_in_time_is_a_reason(tmp_path: Path) -> None:
    with EngineProcess(entry("plain"), tmp_path / "log") as process:
        os.kill(process.process.pid, signal.SIGSTOP)
        process.send = lambda which: None  # type: ignore[method-assign]  # it never wakes
        with pytest.raises(EngineFailedError, match="no answer to memory within"):
            process.ask("memory", 0.2)


@pytest.mark.parametrize("kind", ["Plain", "ReadsFiles"])
def test_rows_are_in_memory_for_a_build_but_of_an_engine_that_reads_files(tmp_path: Path, kind: str) -> None:
    """What is built of more rows than memory holds must not begin with a copy of them."""
    np.save(tmp_path / "vectors.npy", clusters().rows)
    with EngineProcess(entry("some", kind), tmp_path / "log") as process:
        order = {"metric": "cosine", "threads": 1, "folder": str(tmp_path)}
        built = process.ask("build", 60, vectors=str(tmp_path / "vectors.npy"), **order)
    assert built["mapped"] is (kind == "ReadsFiles")
