"""A walk that may not cost more than so many visits: it stops as soon as it can be told that they will not do."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from indexing import clustered
from numpy.typing import NDArray
from walks import encoded

from index.disk.layout import DEGREE, Profile
from index.search.finding import SearchPlan
from index.search.walk import Walk

COUNT, DIM, K, EFFORT = 4000, 48, 20, 400


@pytest.fixture(params=["compact", "speed"])
def walk(request: pytest.FixtureRequest) -> Walk:
    vectors = clustered(COUNT, DIM)
    squares = (vectors**2).sum(1)
    distances = squares[:, None] + squares[None] - 2 * vectors @ vectors.T
    np.fill_diagonal(distances, np.inf)
    profile: Profile = request.param
    links = np.argsort(distances, 1)[:, :DEGREE].astype(np.int32)
    return Walk(encoded(vectors, links, l2=True, profile=profile), vectors, 1)


@pytest.fixture
def under(walk: Walk) -> Callable[[float], tuple[NDArray[np.float64], NDArray[np.bool_]]]:
    queries = clustered(100, DIM, seed=77)
    needed = walk.search(queries, K, EFFORT).scored

    def asked(share: float) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """With a budget of so many times what each query needs: what was spent of it, and whether it gave up."""
        spent, gave_up = [], []
        for query, most in zip(queries, (share * needed).astype(int), strict=True):
            plan = SearchPlan(trial=1 << 20, budget=int(most))
            found = walk.search(query[None], K, EFFORT, plan=plan)
            spent.append(found.scored[0] / most)
            gave_up.append(found.rows[0, -1] < 0)
        return np.array(spent), np.array(gave_up)

    return asked


def test_a_walk_is_over_after_most_where_it_has_found_enough(walk: Walk) -> None:
    """And without a budget's scan: what it has found is the answer, in which next to nothing is missing."""
    queries = clustered(100, DIM, seed=77)
    whole = walk.search(queries, K, EFFORT)
    most = int(0.75 * np.median(whole.scored))
    ended = walk.search(queries, K, EFFORT, plan=SearchPlan(most=most))
    longer = whole.scored > 2 * most
    assert longer.sum() >= 5
    assert (ended.scored[longer] < whole.scored[longer]).all()
    assert (ended.rows >= 0).all()
    assert (ended.scores >= whole.scores[:, -1:] - 1e-6).mean() >= 0.97
    assert np.array_equal(walk.search(queries, K, EFFORT, plan=SearchPlan(most=COUNT)).rows, whole.rows)
    few = walk.search(queries, K, EFFORT, plan=SearchPlan(most=1))
    assert (few.rows >= 0).all(), "not before it has found as many as were asked for"


def test_a_walk_that_has_visited_enough_is_over_where_it_would_give_up(walk: Walk) -> None:
    queries = clustered(100, DIM, seed=77)
    whole = walk.search(queries, K, EFFORT)
    budget = int(0.5 * whole.scored.min())
    for enough, gives_up in ((2 * COUNT, True), (budget // 2, False)):
        plan = SearchPlan(trial=1 << 20, budget=budget, enough=enough)
        found = walk.search(queries, K, EFFORT, plan=plan)
        assert ((found.rows[:, -1] < 0) == gives_up).all()
        assert np.median(found.scored) < np.median(whole.scored)


def test_half_of_what_a_walk_needs_is_given_up_before_it_is_spent(
    under: Callable[[float], tuple[NDArray[np.float64], NDArray[np.bool_]]],
) -> None:
    spent, gave_up = under(0.5)
    assert gave_up.all()
    assert np.median(spent) < 0.6


def test_a_walk_with_twice_what_it_needs_is_not_given_up(
    under: Callable[[float], tuple[NDArray[np.float64], NDArray[np.bool_]]],
) -> None:
    assert not under(2.0)[1].any()
