"""A search through a filter, or for many hits, goes the cheaper way, and gives up the dearer one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from indexing import clustered
from numpy.typing import NDArray

from index import Generation, build_generation, kernels, open_generation
from index.search.bitmap import Bitmap
from index.search.finding import HIT, IN_A_ROW, IN_BLOCKS, WALK, WORTH, Planner, SearchPlan, scan_cost

MILLION = 1_000_000
EFFORT = {
    "default": 300,
    "curve": [{"effort": 100, "scored": 50.0}, {"effort": 300, "scored": 500.0}],
    "deep": [{"k": 100, "scored": 2500.0}, {"k": 1000, "scored": 15_000.0}],
}


def kept(survivors: int, count: int = MILLION, *, in_a_row: bool = False) -> Bitmap:
    flags = np.zeros(count, np.bool_)
    flags[np.arange(survivors) if in_a_row else np.random.default_rng(1).choice(count, survivors, replace=False)] = True
    return Bitmap(flags, count)


@pytest.mark.parametrize("count", [1, 64, 65, 1000])
def test_neighbouring_rows_are_counted_as_one_stretch(count: int) -> None:
    flags = np.random.default_rng(count).random(count) < 0.6
    assert Bitmap(flags, count).runs == (np.diff(flags.astype(int), prepend=0) == 1).sum()


def test_a_plan_knows_hits_effort_survivors_and_whether_they_lie_in_a_row() -> None:
    planner = Planner("compact", MILLION, EFFORT)
    assert not planner.plan(10, 300, None).scan
    assert not Planner("speed", MILLION, EFFORT).plan(10, 300, kept(8_000)).scan  # whose visits cost less
    assert planner.plan(10, 300, kept(8_000)).scan  # 500 visits cost more, even where all around the query survive
    assert not planner.plan(10, 100, kept(8_000)).scan  # at a lower effort they are 50
    assert not planner.plan(10, 300, kept(18_000)).scan
    assert planner.plan(10, 300, kept(18_000, in_a_row=True)).scan
    assert planner.plan(100, 300, kept(18_000)).scan  # what hybrid asks for
    assert planner.plan(1000, 300, kept(200_000)).scan
    assert not planner.plan(1000, 300, None).scan
    small = Planner("compact", 20_000, EFFORT)
    assert small.plan(1000, 300, None).scan
    assert not small.plan(10, 300, None).scan  # what the structure was asked for
    many = 400_000
    assert Planner("compact", many, EFFORT).plan(1000, 300, None).scan
    assert not Planner("compact", many, EFFORT, IN_BLOCKS["compact"]).plan(1000, 300, None).scan  # all that passes by
    assert Planner("flat", 10, EFFORT | {"curve": [{"effort": 1, "scored": 10.0}]}).plan(1, 1, None).scan


def test_a_walk_beyond_the_usual_effort_ends_where_a_scan_would_have() -> None:
    """Nobody's effort may hold up everybody: at 65,536 every vertex is worth a visit."""
    planner = Planner("compact", MILLION, EFFORT)
    assert planner.plan(10, EFFORT["default"], None) == WALK
    plan = planner.plan(10, 65_536, None)
    assert not plan.scan
    assert 0 < plan.budget < MILLION / 5


def test_a_walk_that_has_more_effort_than_it_needs_has_a_bound() -> None:
    """Where effort was named that is below what is usual, or above, all of it is spent."""
    planner = Planner("compact", MILLION, EFFORT, target_effort=100)
    assert [planner.plan(10, effort, None).most for effort in (100, 300, 301)] == [0, 875, 0]
    assert planner.plan(100, 300, None).most == pytest.approx(1.75 * 2500, abs=1)
    near = planner.plan(100, 300, None)
    assert near.enough == pytest.approx(1.2 * 2500, abs=1)  # and what it has found is better than a scan as well
    assert planner.plan(10, 300, kept(600_000)).most == 875  # of those that may be hits
    assert Planner("compact", MILLION, EFFORT).plan(10, 300, None).most == 0  # the default is what the target needs
    assert Planner("disk", MILLION, EFFORT, target_effort=100).plan(10, 300, None).most == 0


@pytest.mark.parametrize("k", [10, 100, 1000])
@pytest.mark.parametrize("survivors", [30_000, 200_000, 600_000])
def test_a_walk_may_cost_as_much_as_the_scan_and_is_tried_for_an_eighth_of_it(k: int, survivors: int) -> None:
    keep = kept(survivors)
    plan = Planner("compact", MILLION, EFFORT).plan(k, 300, keep)
    scan = scan_cost(keep) + HIT * k
    if not plan.scan:
        assert plan.budget * WORTH["compact"] == pytest.approx(scan, rel=0.01)
        assert plan.trial == pytest.approx(plan.budget / 8, abs=64)
        assert 0 < plan.least_share < 1
    else:
        assert scan <= WORTH["compact"] * 15_000


def test_what_a_build_did_not_measure_is_estimated() -> None:
    without = {name: EFFORT[name] for name in ("default", "curve")}
    plans = [Planner("compact", MILLION, each).plan(100, 300, kept(250_000)) for each in (EFFORT, without)]
    assert [plan.scan for plan in plans] == [False, False]
    assert 0.3 < plans[0].least_share / plans[1].least_share < 3
    lists = Planner("ivf", MILLION, without)
    assert lists.plan(10, 300, kept(1_000)).scan
    assert not lists.plan(10, 300, kept(200_000)).scan
    assert IN_A_ROW < 1


COUNT, DIM, CENTRES = 5000, 32, 12


@pytest.fixture(scope="module", params=["compact", "speed"])
def generation(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Generation]:
    root = tmp_path_factory.mktemp("indexes")
    vectors = clustered(COUNT, DIM, centres=CENTRES)
    path = build_generation(
        vectors, range(COUNT), root=root, name="docs", family="graph", profile=request.param, threads=1
    )
    with open_generation(path) as opened:
        yield opened


def nearest(generation: Generation, query: NDArray[np.float32]) -> NDArray[np.int64]:
    return np.argsort(-(generation.vectors(0, COUNT) @ query))


@pytest.fixture(scope="module")
def queries(generation: Generation) -> NDArray[np.float32]:
    return generation.checked(clustered(30, DIM, seed=3, centres=CENTRES))


def walked(generation: Generation, query: NDArray[np.float32], keep: Bitmap, plan: SearchPlan, unit: str = "") -> Any:
    searcher: Any = generation._searcher
    return searcher.search(query[None], 10, generation.default_effort, keep, plan)


def test_a_walk_gives_up_where_no_survivor_is_near_and_the_answer_is_exact(
    generation: Generation, queries: NDArray[np.float32]
) -> None:
    plan = SearchPlan(trial=64, least_share=0.1, budget=2000)
    for query in queries[:10]:
        order = nearest(generation, query)
        far, near = generation.only(order[-COUNT // 2 :]), generation.only(order[: COUNT // 2])
        assert (walked(generation, query, far, plan).rows == -1).all()
        assert (walked(generation, query, far, SearchPlan()).rows >= 0).all()
        assert (walked(generation, query, near, plan).rows >= 0).all()
        assert (walked(generation, query, near, plan._replace(budget=20)).rows == -1).all()
        found, best = (generation.search_rows(query[None], 10, exact=exact, keep=far) for exact in (False, True))
        np.testing.assert_array_equal(found.rows, best.rows)
        assert found.scored[0] < 1.25 * COUNT


def test_recall_holds_where_a_filter_drops_all_that_is_near(
    generation: Generation, queries: NDArray[np.float32]
) -> None:
    """The walk alone, through filters that keep most rows and none of the several hundred nearest."""
    recalls = []
    for query in queries:
        keep = generation.only(nearest(generation, query)[400:])
        found = walked(generation, query, keep, SearchPlan())
        best = generation.search_rows(query[None], 10, exact=True, keep=keep)
        recalls.append((found.scores >= best.scores[:, -1:]).mean())
    assert np.mean(recalls) > 0.95
    assert min(recalls) >= 0.5


@pytest.mark.parametrize("unit", kernels.units())
def test_units_give_up_alike(generation: Generation, queries: NDArray[np.float32], unit: str) -> None:
    searcher: Any = generation._searcher
    keep = generation.only(nearest(generation, queries[0])[: COUNT // 2])
    answers = []
    for name in ("scalar", unit):
        found = np.empty((len(queries), 10), np.int64), np.empty((len(queries), 10), np.float32)
        scored = np.empty(len(queries), np.int64)
        searcher._graph.search(
            queries, searcher.vectors, 1.0, 200, keep.words, *found, scored, 1, name, share=0.5, room=4000,
            handicap=0.5, trial=64, least_share=0.2, budget=1000,
        )  # fmt: skip
        answers.append((found[0], scored))
    assert all(np.array_equal(one, other) for one, other in zip(*answers, strict=True))
    gave_up = (answers[0][0][:, 0] < 0).sum()
    assert 0 < gave_up < len(queries)
