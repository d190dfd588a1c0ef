"""A graph with codes of edges and spokes: both ways find what they should, and long walks go the quicker one."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from indexing import clustered
from numpy.typing import NDArray
from walks import encoded, nearest_links

from index import build_generation, open_generation
from index.build import trials
from index.disk import layout
from index.disk.layout import Layout
from index.search.bitmap import Bitmap
from index.search.finding import EVERY_WALK, NO_WALK, WORTH, LongWalks, Planner
from index.search.walk import Walk

COUNT, DIM = 600, 48


@pytest.fixture(scope="module")
def rows() -> NDArray[np.float32]:
    return clustered(COUNT, DIM)


@pytest.mark.parametrize("l2", [False, True])
@pytest.mark.parametrize("kept", [None, 0.3])
def test_by_spokes_speed_finds_what_compact_does_to_the_bit(
    rows: NDArray[np.float32], l2: bool, kept: float | None
) -> None:
    queries, links = clustered(40, DIM, seed=9), nearest_links(rows)
    speed, compact = (encoded(rows, links, l2, profile=profile) for profile in ("speed", "compact"))
    keep = None if kept is None else Bitmap(np.random.default_rng(3).random(COUNT) < kept, COUNT)
    for k, effort in ((1, 50), (10, 150), (40, 300)):
        answers = [
            Walk(made, rows, 1, by_spokes=ways).search(queries, k, effort, keep)
            for made, ways in ((compact, NO_WALK), (speed, EVERY_WALK), (speed, NO_WALK))
        ]
        for expected, found in zip(answers[0], answers[1], strict=True):
            np.testing.assert_array_equal(expected, found)
        assert (answers[2].scored != answers[1].scored).any()  # the other way it is another walk


def test_a_graph_of_before_there_were_spokes_is_walked_by_edges(rows: NDArray[np.float32], tmp_path: Path) -> None:
    queries, made = clustered(20, DIM, seed=9), encoded(rows, nearest_links(rows), False, profile="speed")
    older = made._replace(spokes=None, spoke_rms=0.0)
    for expected, found in zip(*(_found(each, rows, queries) for each in (made, older)), strict=True):
        np.testing.assert_array_equal(expected, found)

    path = build_generation(rows, range(COUNT), root=tmp_path, name="old", family="graph", profile="speed")
    with open_generation(path) as generation:
        manifest: dict[str, Any] = generation.manifest
    del manifest["sections"][layout.SPOKES_FILE]
    (path / layout.SPOKES_FILE).unlink()
    loaded = layout.load(path, manifest)
    assert (loaded.edges, loaded.spokes, loaded.spoke_rms) == (True, None, 0.0)


def _found(made: Layout, rows: NDArray[np.float32], queries: NDArray[np.float32]) -> Any:
    found = [Walk(made, rows, 1, by_spokes=EVERY_WALK if made.spokes is None else NO_WALK).search(queries, 10, 150)]
    return [*found[0]]


def test_which_walks_are_long_lies_on_a_line_over_the_logarithm_of_k() -> None:
    ways = LongWalks(400.0, 200.0)
    assert [ways.begin(10, effort) for effort in (399, 400)] == [False, True]
    assert [ways.begin(100, effort) for effort in (199, 200)] == [False, True]
    assert [ways.begin(32, effort) for effort in (297, 300)] == [False, True]
    assert [ways.begin(1, effort) for effort in (599, 600)] == [False, True]
    assert ways.begin(1000, 1)
    assert not NO_WALK.begin(10_000, 10_000)
    assert LongWalks.of({"spokes_from": ways.entry()}) == ways
    assert LongWalks.of({}) == NO_WALK


@pytest.mark.parametrize(("few", "many"), [(150, 75), (50, 50), (600, 100), (trials.NEVER, trials.NEVER)])
def test_the_effort_from_which_spokes_are_quicker_is_found(
    monkeypatch: pytest.MonkeyPatch, few: int, many: int
) -> None:
    """Of walks that cost what they say: by spokes half as much again until then, and half from then on."""
    spent_ns = [0]
    monkeypatch.setattr(trials.time, "thread_time_ns", lambda: spent_ns[0])

    def walked(ways: LongWalks) -> Any:
        def search(queries: NDArray[np.float32], k: int, effort: int) -> Any:
            long = effort >= (few if k == 10 else many)
            spent_ns[0] += round(1000 * effort * ((0.5 if long else 1.5) if ways == EVERY_WALK else 1))
            return SimpleNamespace(scores=np.full((len(queries), k), math.log(effort)))  # as good at the same effort

        return SimpleNamespace(search=search)

    assert trials.try_ways(walked, clustered(300, 8)) == (few, many)


def test_a_build_says_which_walks_go_by_spokes_and_a_server_heeds_it(
    rows: NDArray[np.float32], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trials, "try_ways", lambda walked, queries: LongWalks(40.0, 20.0))
    queries = clustered(20, DIM, seed=9)
    for originals in ("keep", "drop"):
        path = build_generation(
            rows, range(COUNT), root=tmp_path, name=originals, family="graph", profile="speed", originals=originals
        )
        with open_generation(path) as generation:
            assert generation.manifest["effort"]["spokes_from"] == LongWalks(40.0, 20.0).entry()
            made = layout.load(path, generation.manifest)
            vectors = None if originals == "drop" else np.stack([generation.vector(row) for row in range(COUNT)])
            for effort, ways in ((39, NO_WALK), (40, EVERY_WALK)):
                served = generation.search_rows(queries, 10, effort)
                expected = Walk(made, vectors, 1, by_spokes=ways).search(generation.checked(queries), 10, effort)
                np.testing.assert_array_equal(served.rows, expected.rows)
                np.testing.assert_array_equal(served.scored, expected.scored)
                assert generation.manifest["sections"][layout.SPOKES_FILE]["rms"] == pytest.approx(made.spoke_rms)


def test_a_long_walk_through_a_filter_is_planned_at_what_it_costs_by_spokes() -> None:
    curve = [{"effort": effort, "scored": effort / 2} for effort in (50, 500)]
    keep = Bitmap(np.arange(100_000) % 3 > 0, 100_000)
    efforts = ({"default": 500, "curve": curve, "spokes_from": each} for each in ([], LongWalks(500.0, 100.0).entry()))
    edges, spokes = (Planner("speed", 100_000, effort) for effort in efforts)
    assert edges.plan(11, 400, keep).budget == spokes.plan(11, 400, keep).budget > 0
    long = [planner.plan(200, 400, keep).budget for planner in (edges, spokes)]
    assert long[1] == pytest.approx(long[0] * WORTH["speed"] / WORTH["compact"], rel=0.01)
