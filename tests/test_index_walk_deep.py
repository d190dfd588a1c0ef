"""A search for more rows than an effort was measured with, as a fusion makes it: the best ten no worse, for less."""

from __future__ import annotations

from pathlib import Path

import pytest
from indexing import clustered, names

from index import build_generation, open_generation
from service.query.ranked.fusion import DEPTH, MEASURED_K, effort_of


@pytest.mark.parametrize(("asked", "depth"), [(None, 10), (64, 50), ("target", 10)])
def test_what_a_request_asks_for_stays(asked: int | None, depth: int) -> None:
    assert effort_of(asked, depth) == asked
    assert effort_of(None, 50, share=0.1) is None, "the survivors of a narrow filter are compared one by one"


def test_the_best_ten_of_a_fusions_ranking_are_found_as_well_as_they_are_alone(tmp_path: Path) -> None:
    vectors, queries = clustered(6000, 32), clustered(200, 32, seed=77)
    how = {"family": "graph", "metric": "l2", "threads": 1}
    path = build_generation(vectors, names(6000), root=tmp_path, name="deep", **how)  # type: ignore[arg-type]
    with open_generation(path) as generation:
        right = generation.search_rows(queries, MEASURED_K, exact=True).rows
        alone, usual = (generation.search_rows(queries, k) for k in (MEASURED_K, DEPTH))
        fused = generation.search_rows(queries, DEPTH, effort_of(None, DEPTH))

        def recall(rows: object) -> float:
            return sum(len(set(a[:10]) & set(b)) for a, b in zip(rows, right, strict=True)) / right.size  # type: ignore[call-overload]

        target = generation.manifest["recall"]["target"]
        assert recall(fused.rows) >= min(target, recall(alone.rows) - 0.005)
        assert fused.scored.sum() <= usual.scored.sum()
