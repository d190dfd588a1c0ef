"""A walk through a filter that drops few rows costs about what it does without, and finds as much."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from indexing import clustered, names

import index
from index import kernels
from index.search.bitmap import Bitmap
from index.search.generation import Generation
from index.search.walk import Walk

DIM, COUNT, K = 48, 6000, 10


@pytest.fixture(scope="module", params=["cosine", "l2"])
def generation(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Generation]:
    root: Path = tmp_path_factory.mktemp("indexes")
    path = index.build_generation(
        clustered(COUNT, DIM),
        names(COUNT),
        root=root,
        name="docs",
        metric=request.param,
        family="graph",
        profile="compact",
        threads=1,
    )
    with index.open_generation(path) as opened:
        yield opened


def walked(generation: Generation, share: float) -> tuple[float, float]:
    """Recall and vectors scored, of a walk past all filters' shortcuts, where so many rows survive."""
    walk: Any = generation._searcher
    assert isinstance(walk, Walk)
    queries = generation.checked(clustered(300, DIM, seed=5))
    keep = None if share == 1 else Bitmap(np.random.default_rng(3).random(COUNT) < share, COUNT)
    found = walk.search(queries, K, generation.default_effort, keep)
    best = generation.search_rows(queries, K, exact=True, keep=keep)
    return float((found.scores >= best.scores[:, -1:]).mean()), float(found.scored.mean())


@pytest.mark.parametrize("share", [0.95, 0.8, 0.6])
def test_few_dropped_rows_cost_neither_time_nor_recall(generation: Generation, share: float) -> None:
    recall, scored = walked(generation, 1.0)
    through, scored_through = walked(generation, share)
    assert through >= recall - 0.005
    assert scored_through <= 1.08 * scored


@pytest.mark.parametrize("share", [0.3, 0.1])
def test_most_rows_dropped_are_still_walked_through(generation: Generation, share: float) -> None:
    assert walked(generation, share)[0] >= walked(generation, 1.0)[0] - 0.005


@pytest.mark.parametrize("unit", kernels.units())
def test_a_handicap_is_the_same_in_every_unit(generation: Generation, unit: str) -> None:
    walk: Any = generation._searcher
    queries, keep = generation.checked(clustered(30, DIM, seed=6)), Bitmap(np.arange(COUNT) % 5 > 0, COUNT)
    answers = []
    for name in ("scalar", unit):
        rows, scores = np.empty((30, K), np.int64), np.empty((30, K), np.float32)
        scored = np.empty(30, np.int64)
        walk._graph.search(queries, walk.vectors, 3.0, 300, keep.words, rows, scores, scored, 1, name, handicap=1.5)
        assert keep.holds(int(rows[0, 0]))
        answers.append((rows, scored))
    assert all(np.array_equal(one, other) for one, other in zip(*answers, strict=True))
