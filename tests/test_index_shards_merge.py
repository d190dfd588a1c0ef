"""The k best of two parts, by score and then by id, whichever way they are merged."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from index.kernels import _native
from index.search.exact import TopK
from index.shards.merge import best_places, merge_top

SCORES = st.lists(st.integers(-3, 3).map(float), max_size=9)


def part(queries: list[list[float]], k: int) -> TopK:
    """Rows in the order of the scores, best first, padded to k."""
    rows, scores = np.full((len(queries), k), -1), np.full((len(queries), k), -np.inf, np.float32)
    for query, given_scores in enumerate(queries):
        best = sorted(given_scores, reverse=True)[:k]
        rows[query, : len(best)], scores[query, : len(best)] = np.arange(len(best)), best
    return TopK(rows, scores, np.zeros(len(queries), np.int64))


def place(row: int) -> int:
    """Rows of both parts by turns, those of the second (from 100 on) first."""
    return 2 * row + 1 if row < 100 else 2 * (row - 100)


@settings(max_examples=300)
@given(st.lists(st.tuples(SCORES, SCORES), min_size=1, max_size=4), st.integers(1, 9), st.integers(1, 9))
def test_the_best_of_both_come_by_score_and_then_by_id(
    queries: list[tuple[list[float], list[float]]], k: int, width: int
) -> None:
    mine, theirs = part([one for one, _ in queries], k), part([other for _, other in queries], width)
    expected = []
    for query in range(len(queries)):
        hits = [
            (-float(score), place(int(row) + offset), int(row) + offset)
            for found, offset in ((mine, 0), (theirs, 100))
            for row, score in zip(found.rows[query], found.scores[query], strict=True)
            if row >= 0
        ]
        expected.append([row for *_, row in sorted(hits)[:k]])
    merge_top(mine, theirs, 100, place)
    assert [[row for row in rows if row >= 0] for rows in mine.rows.tolist()] == expected
    assert all((np.diff(scores[np.isfinite(scores)]) <= 0).all() for scores in mine.scores)


@settings(max_examples=300)
@given(st.lists(SCORES, max_size=4), st.integers(1, 9))
def test_the_best_of_several_lists_come_by_score_and_then_by_id(lists: list[list[float]], k: int) -> None:
    scores = [score for each in lists for score in sorted(each, reverse=True)]
    places = range(len(scores))
    assert best_places(scores, k, lambda place: -place) == sorted(places, key=lambda at: (-scores[at], -at))[:k]


def test_ids_are_asked_only_where_scores_tie() -> None:
    mine, theirs = part([[5.0, 3.0, 1.0]], 3), part([[4.0, 2.0]], 3)

    def asked(row: int) -> int:
        raise AssertionError(row)

    assert best_places([5.0, 3.0, 1.0, 4.0, 2.0, 1.0], 4, asked) == [0, 3, 1, 4]
    merge_top(mine, theirs, 10, asked)
    assert mine.rows.tolist() == [[0, 10, 1]]
    assert mine.scores.tolist() == [[5.0, 4.0, 3.0]]


def test_parts_of_other_shapes_are_refused() -> None:
    def rows(*shape: int) -> NDArray[np.int64]:
        return np.zeros(shape, np.int64)

    def scores(*shape: int) -> NDArray[np.float32]:
        return np.zeros(shape, np.float32)

    with pytest.raises(ValueError, match="as many queries"):
        _native.merge(rows(2, 3), scores(2, 3), rows(1, 3), scores(1, 3), 0)
    with pytest.raises(ValueError, match="the same shape"):
        _native.merge(rows(1, 3), scores(1, 2), rows(1, 3), scores(1, 3), 0)
