"""The recall that a build states must be the recall that a stranger measures, and must depend on the effort."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from indexing import brute_force, clustered, names
from numpy.typing import NDArray

from index import build_generation, open_generation
from index.build import recall, structure
from index.disk import codes
from index.printing import print_built
from index.search import exact
from index.search.generation import Generation

DIM, COUNT = 40, 6000


def measured(generation: Generation, queries: NDArray[np.float32], effort: int | None, metric: str = "cosine") -> float:
    """Recall@10 by the ids that brute force over the given vectors finds."""
    found = generation.search_rows(queries, 10, effort).rows
    truth = generation.search_rows(queries, 10, exact=True).rows
    return float(np.mean([len(set(a) & set(b)) / 10 for a, b in zip(found, truth, strict=True)]))


@pytest.fixture(scope="module", params=["graph", "ivf", "disk"])
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp(request.param)
    how = {"profile": "disk"} if request.param == "disk" else {"family": request.param}
    return build_generation(clustered(COUNT, DIM), names(COUNT), root=root, name="recall", recall_target=0.95, **how)


@pytest.fixture(scope="module")
def strangers() -> NDArray[np.float32]:
    return clustered(1000, DIM, seed=77)


def test_recall_reaches_its_target_on_queries_from_outside(built: Path, strangers: NDArray[np.float32]) -> None:
    """The stated minimum: what the build promises with 95 % confidence, less what 1,000 other queries may scatter."""
    with open_generation(built) as generation:
        ours = measured(generation, strangers, None)
        assert ours >= 0.95 - 0.01
        assert abs(ours - generation.manifest["recall"]["recall"]) < 0.02


def test_half_the_effort_misses_the_target(built: Path, strangers: NDArray[np.float32]) -> None:
    with open_generation(built) as generation:
        effort = generation.effort_for(0.95)
        half = measured(generation, strangers, max(1, effort // 2))
        assert half < 0.95 - 0.01
        assert half < measured(generation, strangers, effort) - 0.01


def test_recall_is_the_same_after_every_reload(built: Path, strangers: NDArray[np.float32]) -> None:
    answers = []
    for threads in (1, 1, 2):
        with open_generation(built, threads=threads) as generation:
            answers.append(generation.search_rows(strangers, 10))
    for again in answers[1:]:
        np.testing.assert_array_equal(again.rows, answers[0].rows)
        np.testing.assert_array_equal(again.scores, answers[0].scores)


def test_the_curve_rises_and_effort_for_reads_it(built: Path) -> None:
    with open_generation(built) as generation:
        curve = generation.manifest["effort"]["curve"]
        efforts, recalls = [p["effort"] for p in curve], [p["recall"] for p in curve]
        assert efforts == sorted(set(efforts))
        assert all(later >= earlier - 0.005 for earlier, later in pairwise(recalls))
        assert all(p["low"] <= p["recall"] <= p["high"] for p in curve)
        assert generation.default_effort in efforts
        for wanted in (0.5, 0.9, 0.95, 0.98):
            effort = generation.effort_for(wanted)
            assert all(p["low"] < wanted for p in curve if p["effort"] < effort)
        with pytest.raises(Exception, match=r"no measured effort .* reaches recall 1\.0; the best is"):
            generation.effort_for(1.0)


@pytest.mark.parametrize(
    ("target", "asked"), [(0.95, [10, 20, 40, 80, 30, 25, 22, 21]), (0.99, [10, 20, 40, 80, 160, 320])]
)
def test_a_ladder_ends_where_nothing_is_missed_unless_too_few_queries_prove_the_target(
    target: float, asked: list[int]
) -> None:
    truth = recall.HeldOutTruth(np.arange(100), np.zeros((100, 4), np.float32), np.zeros((100, 10), np.float32))
    seen = []

    def search(queries: NDArray[np.float32], k: int, effort: int) -> exact.TopK:
        seen.append(effort)
        scores = np.full((len(queries), k), 0.0 if effort > 20 else -1.0, np.float32)
        return exact.TopK(np.zeros(scores.shape, np.int64), scores, np.full(len(queries), effort))

    recall.curve(search, truth, (10, 20, 40, 80, 160, 320), target)
    assert seen == asked


def test_truth_leaves_the_held_out_rows_out() -> None:
    vectors = codes.unit_rows(clustered(900, 16))
    held_out = recall.held_out_rows(len(vectors))
    truth = recall.truth_without(held_out, vectors, codes.quantise(vectors), "cosine", 2)
    rest = np.delete(vectors, held_out, axis=0)
    _, scores = brute_force(vectors[held_out], rest, 10, "ip")
    np.testing.assert_allclose(truth.scores, scores, rtol=1e-5, atol=1e-6)


def test_truth_survives_rows_that_are_surrounded_by_held_out_ones() -> None:
    """The nearest neighbours of these rows are nearly all held out with them: the search must look further."""
    vectors = codes.unit_rows(clustered(400, 16, spread=2.0))
    held_out = np.arange(0, 200)
    vectors[held_out] = vectors[0] + np.random.default_rng(0).normal(size=(200, 16)).astype(np.float32) * 1e-3
    vectors = codes.unit_rows(vectors)
    truth = recall.truth_without(held_out, vectors, codes.quantise(vectors), "cosine", 1)
    _, scores = brute_force(vectors[held_out], vectors[200:], 10, "ip")
    np.testing.assert_allclose(truth.scores, scores, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("count", [200, 1000, 5000, 250_000])
def test_held_out_rows_are_seeded_distinct_and_at_most_half(count: int) -> None:
    rows = recall.held_out_rows(count)
    np.testing.assert_array_equal(rows, recall.held_out_rows(count))
    assert 100 <= len(np.unique(rows)) == len(rows) <= min(count // 2, recall.HELD_OUT)
    assert rows.min() >= 0
    assert rows.max() < count


def test_what_a_lower_effort_has_proven_holds_for_a_higher_one() -> None:
    """Where nothing is missed the interval is as wide as few queries make it, and wider than where one hit is."""
    builder = object.__new__(structure.Builder)
    builder._target, builder._least_effort = 0.99, 300
    builder._points = [
        recall.RecallPoint(200, 0.999, 0.9962, 0.9998, 50.0),
        recall.RecallPoint(100, 0.98, 0.97, 0.99, 20.0),
        recall.RecallPoint(300, 1.0, 0.9861, 1.0, 90.0),
        recall.RecallPoint(400, 1.0, 0.9861, 1.0, 120.0),
    ]
    found = builder._measured(np.arange(273))
    assert (found["effort"], found["recall"], found["low"]) == (300, 1.0, 0.9962)
    builder._points = builder._points[1:]
    missed = builder._measured(np.arange(273))
    assert (missed["effort"], missed["low"]) == (400, 0.9861)


def test_a_hit_is_a_score_so_duplicates_are_no_misses() -> None:
    truth = recall.HeldOutTruth(np.array([0]), np.zeros((1, 4), np.float32), np.array([[0.9] * 10], np.float32))
    other_rows = exact.TopK(np.arange(50, 60)[None], np.full((1, 10), 0.9, np.float32), np.array([60]))
    assert recall.recall_of(other_rows, truth, 1).recall == 1.0
    worse = other_rows._replace(scores=np.array([[0.9] * 7 + [0.8] * 3], np.float32))
    assert recall.recall_of(worse, truth, 1).recall == pytest.approx(0.7)


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    """Queries of which some find everything and some little: hits that stand and fall together."""
    random = np.random.default_rng(3)
    covered, widths = 0, []
    for _ in range(1500):
        shares = np.where(random.random(300) < 0.9, 1.0, random.integers(0, 10, 300) / 10)
        low, high = recall.interval(shares)
        covered += low <= 0.9 + 0.1 * 0.45 <= high
        widths.append(high - low)
    assert 0.93 <= covered / 1500 <= 0.98
    assert np.mean(widths) < 0.05


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_the_interval_is_honest_when_no_query_differs(share: float) -> None:
    low, high = recall.interval(np.full(100, share))
    assert (low, high) == pytest.approx((0.963, 1.0) if share else (0.0, 0.037), abs=0.001)


def test_points_lie_midway_between_two_rows_at_their_mean_length() -> None:
    rows = np.random.default_rng(3).standard_normal((50, 24)).astype(np.float32) * 7
    points = recall.midway(rows)
    lengths = np.linalg.norm(rows, axis=1)
    partner = np.roll(np.arange(50), 25)
    assert np.allclose(np.linalg.norm(points, axis=1), (lengths + lengths[partner]) / 2, rtol=1e-5)
    cosine = (points * rows).sum(1) / np.linalg.norm(points, axis=1) / lengths
    assert np.allclose(cosine, cosine[partner], atol=1e-5)  # as near to the one as to the other
    assert np.allclose(2 * cosine**2 - 1, (rows * rows[partner]).sum(1) / lengths / lengths[partner], atol=1e-5)


def test_points_between_rows_without_a_direction_stay_finite() -> None:
    assert not recall.midway(np.zeros((1, 8), np.float32)).any()
    assert not recall.midway(np.array([[1, 0], [-1, 0]], np.float32)).any()
    assert np.array_equal(recall.midway(np.ones((1, 3), np.float32)).round(6), np.ones((1, 3), np.float32))


def test_the_least_effort_is_the_first_that_reaches_the_target() -> None:
    truth = recall.HeldOutTruth(
        np.arange(1), np.zeros((1, 2), np.float32), np.arange(10, 0, -1, dtype=np.float32)[None]
    )
    hits = {1: 2, 4: 8, 16: 9}

    def search(_queries: NDArray[np.float32], _k: int, effort: int) -> exact.TopK:
        found = np.arange(10)[None] < hits[effort]
        scores = np.where(found, truth.scores, -np.inf).astype(np.float32)
        return exact.TopK(np.where(found, 1, -1), scores, np.ones(1, np.int64))

    efforts = {target: recall.least_effort(search, truth, (1, 4, 16), target) for target in (0.1, 0.5, 0.8, 0.9, 1.0)}
    assert efforts == {0.1: 1, 0.5: 4, 0.8: 4, 0.9: 16, 1.0: 16}


def test_the_default_effort_also_does_for_points_midway_between_rows(
    built: Path, strangers: NDArray[np.float32]
) -> None:
    with open_generation(built) as generation:
        assert generation.default_effort >= generation.effort_for(0.95)
        if generation.family == "graph":
            assert measured(generation, recall.midway(strangers), None) >= recall.midway_target(0.95) - 0.02


def test_the_cheaper_effort_is_offered_by_name(
    built: Path, strangers: NDArray[np.float32], capsys: pytest.CaptureFixture[str]
) -> None:
    with open_generation(built) as generation:
        number = generation.effort_for(0.95)
        assert generation.target_effort == generation.effort_of("target") == number <= generation.default_effort
        assert generation.effort_of(None) == generation.default_effort
        print_built(built, generation.manifest)
        [said] = [line for line in capsys.readouterr().out.splitlines() if line.startswith("effort")]
        cheaper = f"{number} (--effort target) reaches 0.95 for rows like these"
        assert (cheaper in said) == (number < generation.default_effort)
        named, numbered = (generation.search_rows(strangers, 10, effort) for effort in ("target", number))
        assert all(np.array_equal(*pair) for pair in zip(named, numbered, strict=True))


def test_l2_is_served_by_its_held_out_rows_alone(tmp_path: Path) -> None:
    path = build_generation(
        clustered(2000, DIM), names(2000), root=tmp_path, name="l2", family="graph", metric="l2", recall_target=0.95
    )
    with open_generation(path) as generation:
        assert generation.default_effort == generation.effort_for(0.95)
