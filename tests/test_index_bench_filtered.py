"""`perwatt bench filtered`: every cell is searched in three ways, and the table says what missed its target."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from indexing import clustered

from deploy.figures.tables import filtered
from index.bench.errors import BenchError
from index.bench.filtered import KINDS, bench_filtered, measure, missed


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("vectors")
    np.save(folder / "vectors.npy", clustered(1500, 16))
    asked = ["--vectors", str(folder / "vectors.npy"), "--rows", "1200", "--queries", "3", "--k", "5", "--k", "20"]
    asked += ["--share", "0.01", "--share", "0.5", "--work", str(folder)]
    printed = CliRunner().invoke(bench_filtered, [*asked, "--json"], catch_exceptions=False).output
    lines = CliRunner().invoke(bench_filtered, asked, catch_exceptions=False).output.splitlines()
    found: dict[str, Any] = json.loads(printed)
    assert len(lines) == 2 + len(found["cells"]) + len(found["unfiltered"])
    return found


def test_each_cell_is_searched_in_three_ways_and_found_in(figures: dict[str, Any]) -> None:
    cells = figures["cells"]
    expected = [(kind, share, k) for share in (0.01, 0.5) for kind in KINDS for k in (5, 20)]
    assert [(cell["kind"], cell["share"], cell["k"]) for cell in cells] == expected
    for cell in cells:
        quicker = min(cell["scan_us"], cell["walk_us"])
        assert cell["ratio"] == pytest.approx(cell["planned_us"] / quicker, rel=0.05)
        assert 0 < cell["p50_us"] <= cell["p99_us"]
        assert cell["least_recall"] <= cell["recall"] <= 1
    assert [each["k"] for each in figures["unfiltered"]] == [5, 20]
    assert all(0 < each["p50_us"] <= each["p99_us"] for each in figures["unfiltered"])
    assert all(cell["at_once"] == 1 for cell in cells if cell["share"] == 0.01)  # twelve rows are compared


def test_a_k_beyond_the_rows_is_refused_before_anything_is_built() -> None:
    with pytest.raises(BenchError, match="k is 2,000 with 1,000 rows"):
        measure(None, rows=1000, ks=(2000,))


def test_what_was_built_of_other_vectors_is_not_taken_for_these(tmp_path: Path) -> None:
    for seed in (1, 2):
        np.save(tmp_path / f"{seed}.npy", clustered(1500, 16, seed=seed))
        measure(tmp_path / f"{seed}.npy", rows=1200, queries=1, ks=(5,), shares=(0.5,), work=tmp_path / "work")
    assert len(list((tmp_path / "work").iterdir())) == 2


def test_a_missed_target_is_shown_as_missed(figures: dict[str, Any]) -> None:
    met = {"ratio": 1.5, "p50_us": 10.0, "p99_us": 30.0, "found": 0.99, "at_once": 0.0, "least_recall": 0.7}
    wrong = {"cost": {"ratio": 1.51}, "tail": {"p99_us": 30.1}, "recall": {"found": 0.98}}
    assert missed(met) == []
    assert [missed(met | change) for change in wrong.values()] == [[name] for name in wrong]
    cells = [cell | met for cell in figures["cells"]]
    cells[0] |= wrong["cost"] | wrong["recall"]
    shown = filtered.costs(figures | {"cells": cells})
    assert shown.count("**") == 2
    assert "**1.51 walk** (cost, recall)" in shown
    said = filtered.remarks(figures | {"cells": cells})
    assert "Of 12 cells 1 cost more than 1.5 × the cheaper way, in 0 p99 is above 3 × p50, and in 1 fewer" in said
