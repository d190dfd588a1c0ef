"""Which efforts a race tries, and which of them it times and counts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from index.bench.ann.engine import Ladder, Setting
from index.bench.ann.race import TARGETS, Timed, at_targets
from index.bench.ann.sweep import Tried, between, candidates, drawn, sweep
from index.bench.ann.vectors import AnnWorkload, truth
from index.bench.ann.worker import recall


def test_recall_counts_ties_once_and_repeated_rows_not_at_all() -> None:
    right = np.array([[4, 7, 9, 11], [1, 2, -1, -1]])  # 9 and 11 tie for the third place; the second query has two
    assert recall(np.array([[4, 7, 11], [2, 1, 0]]), right, 3) == pytest.approx(5 / 6)
    assert recall(np.array([[9, 11, 4], [1, 1, 1]]), right, 3) == pytest.approx(4 / 6)
    assert recall(np.array([[-1, -1, -1], [-1, -1, -1]]), right, 3) == 0.0
    with pytest.raises(ValueError, match="has shape"):
        recall(np.zeros((2, 4), np.int64), right, 3)


def test_truth_holds_every_row_as_good_as_the_kth() -> None:
    rows = np.repeat(np.eye(8, dtype=np.float32), 3, axis=0)
    load = AnnWorkload("triples", rows, np.eye(8, dtype=np.float32)[:2], "cosine")
    found = truth(load, 2, 1)
    assert [sorted(row[row >= 0].tolist()) for row in found] == [[0, 1, 2], [3, 4, 5]]


def steps(curve: dict[int, float]) -> tuple[Any, list[int]]:
    asked: list[int] = []

    def attempt(setting: Setting) -> Tried:
        asked.append(setting.effort)
        return Tried(setting, curve[setting.effort], setting.effort / 1000)

    return attempt, asked


def test_the_sweep_finds_the_least_effort_for_each_target() -> None:
    curve = {effort: 1 - 3.0 / (effort + 3) for effort in range(1, 4000)}
    attempt, asked = steps(curve)
    tried = sweep(attempt, Ladder(10, 2000), 10, TARGETS)
    for target in TARGETS:
        least = next(effort for effort in sorted(curve) if curve[effort] >= target)
        found = candidates(tried, target)[0].effort
        assert least <= found <= 1.04 * least + 1
    assert len(asked) < 30
    assert asked[-1] < 2000  # it stops climbing when there is nothing left to gain


def test_the_sweep_climbs_no_further_than_what_is_enough() -> None:
    attempt, asked = steps({effort: 1 - 3.0 / (effort + 3) for effort in range(1, 5000)})
    tried = sweep(attempt, Ladder(1, 4000, 2), 10, (0.95,), enough=0.95)
    assert max(asked) == 64  # the first of the ladder above it: 57 is the least
    assert 57 <= candidates(tried, 0.95)[0].effort <= 59


def test_the_sweep_ends_where_effort_gains_nothing() -> None:
    attempt, asked = steps(dict.fromkeys(range(1, 5000), 0.8))
    tried = sweep(attempt, Ladder(1, 4000, 2), 10, TARGETS)
    assert len(asked) == 4
    assert candidates(tried, 0.9) == []
    assert drawn(tried, 9)


def test_a_target_met_by_the_least_effort_or_by_none_asks_for_no_more() -> None:
    one, two = Tried(Setting(10), 0.93, 1.0), Tried(Setting(11), 0.97, 2.0)
    assert between([one, two], 0.90) is None
    assert between([one, two], 0.95) is None
    assert between([one, two], 0.99) is None
    assert between([one, Tried(Setting(40), 0.97, 2.0)], 0.95) in range(11, 40)


def test_of_two_second_settings_the_hopeless_one_is_not_timed() -> None:
    tried = [
        Tried(Setting(5, 4), 0.96, 1.0),
        Tried(Setting(4, 4), 0.94, 0.8),
        Tried(Setting(3, 12), 0.97, 1.2),
        Tried(Setting(2, 40), 0.96, 9.0),
    ]
    assert set(candidates(tried, 0.95)) == {Setting(5, 4), Setting(3, 12)}


def test_the_fastest_setting_that_reaches_the_recall_counts() -> None:
    timed = [
        Timed(Setting(10), 0.949, 100, [0.1, 0.2]),
        Timed(Setting(20), 0.951, 100, [0.4, 0.3, 0.5]),
        Timed(Setting(5, 8), 0.97, 100, [0.25, 0.35]),
        Timed(Setting(90), 0.995, 100, []),  # never measured
    ]
    found = at_targets(timed)
    assert found["0.90"] is not None
    assert found["0.90"]["qps"] == 1000
    assert found["0.95"] is not None
    assert found["0.95"]["effort"] == [5, 8]
    assert found["0.95"]["qps"] == 400
    assert found["0.95"]["spread"] == pytest.approx(0.2)
    assert found["0.99"] is None


def test_rungs_of_the_ladder_rise_from_k() -> None:
    assert Ladder(1, 60, per_k=True).efforts(100)[0] == 100
    assert Ladder(1, 60, per_k=True).efforts(100)[-1] <= 6000
    assert Ladder(1, 8, 2).efforts(10) == [1, 2, 4, 8]
    assert Ladder(1, 1).efforts(10) == [1]
