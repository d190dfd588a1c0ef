"""What writing costs is measured on a real server, and the table says what was aimed for and missed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from indexing import clustered

from deploy.figures.tables import writes as tables
from index import build_generation
from service.bench import writes
from service.bench.contenders import HttpCase


def figures() -> dict[str, Any]:
    return {
        "acknowledged": {
            "perwatt_per_s": 1000.0,
            "perwatt_hundreds_per_s": 9000.0,
            "sqlite_per_s": 10_000.0,
            "chroma_per_s": 100.0,
        },
        "found_ms": {"p50": 3.0, "p99": 25.0},
        "beside": {
            "alone_p99_ms": 10.0,
            "writing_p99_ms": 15.0,
            "written_per_s": 200.0,
            "rebuilding_p99_ms": 30.0,
            "rebuild_s": 12.0,
        },
        "conditions": {"rows": 9, "dim": 2, "callers": 32, "seconds": 1, "searches_per_s": 100, "texts_per_s": 200},
    }


def test_the_table_says_what_was_missed_and_leaves_out_who_was_not_there() -> None:
    lines = tables.targets(figures()).splitlines()[2:]
    reached = [line.split("|")[3].strip() for line in lines]
    assert reached == ["**missed** 0.10 ×", "0.90 ×", "10.00 ×", "**missed** 25.0 ms", "1.50 ×", "**missed** 3.00 ×"]
    without = figures()
    without["acknowledged"]["chroma_per_s"] = None
    assert "Chroma" not in tables.targets(without)


def test_writes_are_looked_for_on_a_real_server_and_forgotten_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writes, "FOUND", 16)
    vectors = clustered(300, 8)
    build_generation(vectors, [f"s{row}" for row in range(300)], root=tmp_path / "indexes", name="bench")
    case = HttpCase(tmp_path, vectors[:20].tolist(), [], [], 0.95)
    found = writes.found_ms(tmp_path, case, [str(min(os.sched_getaffinity(0)))])
    assert 0 < found["p50"] <= found["p99"]
    log = tmp_path / "indexes" / "bench" / "changes.sqlite"
    assert log.exists()
    writes.forget_changes(tmp_path)
    assert not log.exists()
    assert not list(log.parent.glob("*changes*"))


def test_sqlite_alone_writes_rows_that_are_on_the_disk(tmp_path: Path) -> None:
    assert writes.sqlite_per_s(tmp_path, np.ones((100, 4), np.float32), 1) > 0
    assert not list(tmp_path.iterdir())
