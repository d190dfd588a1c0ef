"""`perwatt bench changes`: every view is searched, and the tables say which target was missed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from indexing import clustered

from deploy.figures.tables import changes
from index.bench.changes import bench_changes, measure
from index.bench.errors import BenchError


@pytest.fixture(scope="module")
def vectors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("vectors") / "vectors.npy"
    np.save(path, clustered(1500, 32))
    return path


@pytest.fixture(scope="module")
def figures(vectors: Path) -> dict[str, Any]:
    return measure(vectors, rows=1200, deltas=(100, 700), rounds=1)


def test_every_view_is_searched_and_held_against_the_generation_alone(figures: dict[str, Any]) -> None:
    views = figures["views"]
    assert list(views) == ["alone", "100 rows", "700 rows", "deleted", "both"]
    assert (figures["rows"], figures["real_rows"]) == (1200, 1350)  # the others were mixed
    for view in views.values():
        assert view["ratio"] == pytest.approx(view["us"] / views["alone"]["us"], rel=0.05, abs=6e-4)  # of three places
        assert view["recall"] > 0.95
    assert json.loads(json.dumps(figures)) == figures


def test_what_was_built_is_found_again(vectors: Path, tmp_path: Path) -> None:
    asked = ["--vectors", str(vectors), "--rows", "1000", "--delta", "50", "--rounds", "1", "--work", str(tmp_path)]
    first = CliRunner().invoke(bench_changes, asked, catch_exceptions=False)
    [name] = [each.name for each in tmp_path.iterdir()]
    built = sorted(each.name for each in (tmp_path / name).iterdir())
    again = CliRunner().invoke(bench_changes, [*asked, "--json"], catch_exceptions=False)
    assert sorted(each.name for each in (tmp_path / name).iterdir()) == built
    assert [line.split("  ")[0] for line in first.output.splitlines()[1:]] == list(json.loads(again.output)["views"])


def test_what_was_built_of_other_vectors_is_not_taken_for_these(tmp_path: Path) -> None:
    for seed in (1, 2):
        np.save(tmp_path / f"{seed}.npy", clustered(1500, 16, seed=seed))
        measure(tmp_path / f"{seed}.npy", rows=1000, deltas=(50,), rounds=1, work=tmp_path / "work")
    assert len(list((tmp_path / "work").iterdir())) == 2


def test_without_vectors_it_says_what_it_wants(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PERWATT_DATA", raising=False)
    with pytest.raises(BenchError, match="PERWATT_DATA"):
        measure()


def test_a_missed_target_is_shown_as_missed(figures: dict[str, Any]) -> None:
    views = {"alone": 1.0, "1000 rows": 1.1, "10000 rows": 1.16, "50000 rows": 1.59, "deleted": 1.11, "both": 9.0}
    shown = changes.searches(
        figures
        | {
            "deltas": [1000, 10_000, 50_000],
            "views": {name: {"us": 100.0, "ratio": ratio, "recall": 0.99} for name, ratio in views.items()},
        },
    )
    missed = [line.split(" |")[0] for line in shown.splitlines() if "**missed**" in line]
    assert missed == ["| 10,000 rows written since", "| 20% of its rows deleted"]
    assert "| 50,000 rows written since, and 20% of its rows deleted |" in shown
