"""Recall forgives ties and nothing else, and its interval is honest about few queries."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from loadtest.errors import WorkloadError
from loadtest.workload.truth import Exact, Truth, recall_interval

TRUTH = Truth([Exact(0, ["a", "b", "c"], [0.9, 0.8, 0.7]), Exact(1, ["a", "b"]), Exact(2, [])], 3)


def test_recall_is_the_share_of_true_neighbours() -> None:
    assert TRUTH.recall(0, [("a", 0.9), ("c", 0.7), ("z", 0.6)]) == pytest.approx(2 / 3)
    assert TRUTH.recall(0, []) == 0
    assert TRUTH.recall(1, [("b", 0), ("x", 5)]) == 0.5


def test_an_equally_near_neighbour_is_not_a_miss_and_a_farther_one_is() -> None:
    assert TRUTH.recall(0, [("a", 0.9), ("b", 0.8), ("twin of c", 0.7)]) == 1
    assert TRUTH.recall(0, [("a", 0.9), ("b", 0.8), ("z", 0.6999)]) == pytest.approx(2 / 3)


def test_more_than_k_hits_do_not_help() -> None:
    assert TRUTH.recall(0, [("x", 0.1), ("y", 0.1), ("z", 0.1), ("a", 0.9)]) == 0


def test_unknown_and_empty_truths_do_not_count() -> None:
    assert TRUTH.recall(7, [("a", 1.0)]) is None
    assert TRUTH.recall(2, []) is None


def test_truth_survives_its_file_and_a_broken_one_is_named(tmp_path: Path) -> None:
    TRUTH.save(tmp_path / "t.json")
    again = Truth.load(tmp_path / "t.json")
    assert again.recall(0, [("a", 0.9)]) == TRUTH.recall(0, [("a", 0.9)])
    assert again.requests() == [0, 1, 2]
    (tmp_path / "t.json").write_text("{")
    with pytest.raises(WorkloadError, match=r"t\.json"):
        Truth.load(tmp_path / "t.json")


def test_a_hundred_perfect_queries_do_not_prove_one() -> None:
    found = recall_interval([1.0] * 100, 10)
    assert found is not None
    assert found.low == pytest.approx(0.963, abs=1e-3)
    assert found.high == 1
    assert recall_interval([], 10) is None


def test_the_interval_holds_the_true_recall_about_as_often_as_it_says() -> None:
    random = np.random.default_rng(0)
    held = 0
    for _ in range(500):
        found = recall_interval(random.binomial(10, 0.95, 200) / 10, 10)
        assert found is not None
        held += found.low <= 0.95 <= found.high
    assert 460 <= held <= 495
