"""A search of a graph with changes looks at few of the rows that were written, and finds what exact search finds."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from indexing import clustered, names
from numpy.typing import NDArray

import index
from index import kernels
from index.changes import sieve
from index.changes.delta import Delta
from index.changes.log_file import Change
from index.changes.view import View
from index.disk.codes import quantise, unit_rows
from index.kernels import _native
from index.search import exact
from index.search.generation import Generation

METRICS = ("cosine", "ip", "l2")
UNITS = kernels.units()
DIM, COUNT, NEW = 48, 3000, 2500
LANGUAGES = ("en", "de", "fr")


@pytest.fixture(scope="module", params=METRICS)
def generation(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    path = index.build_generation(
        clustered(COUNT, DIM),
        names(COUNT),
        root=tmp_path_factory.mktemp(request.param),
        name="docs",
        metric=request.param,
        family="graph",
        payload=[{"lang": LANGUAGES[row % 3]} for row in range(COUNT)],
        filterable=["lang:keyword"],
        threads=1,
    )
    with index.open_generation(path) as opened:
        yield opened


def put(seq: int, id_: str, vector: NDArray[np.float32]) -> Change:
    return Change(seq, id_, vector.tobytes(), f'{{"lang":"{LANGUAGES[seq % 3]}"}}'.encode())


def changed(generation: Generation, seed: int = 1) -> View:
    """New documents, old ones rewritten, some of both deleted, and one that was rewritten a hundred times."""
    rng, delta = random.Random(seed), Delta(generation, 0)
    vectors = clustered(NEW, DIM, seed=seed)
    changes = []
    for seq, vector in enumerate(vectors, 1):
        id_ = f"new-{seq}" if rng.random() < 0.7 else f"doc-{rng.randrange(COUNT)}"
        changes.append(Change(seq, id_, None) if rng.random() < 0.1 else put(seq, id_, vector))
    last = len(changes)
    changes += [Change(last + at, f"new-{rng.randrange(NEW)}", None) for at in range(1, 200)]
    last = len(changes)
    changes += [put(last + at, "again", clustered(1, DIM, seed=at)[0]) for at in range(1, 100)]
    for start in range(0, len(changes), 131):  # groups are filled across several of them
        delta.apply(changes[start : start + 131])
    return View(generation, delta.snapshot())


def recall(view: Any, queries: NDArray[np.float32], k: int, keep: Any = None) -> float:
    """Of scores: equal rows are as good as one another."""
    found = view.search_rows(queries, k, keep=keep)
    last = view.search_rows(queries, k, exact=True, keep=keep).scores[:, -1:]
    return float((found.scores >= last).mean())


@pytest.mark.parametrize("k", [1, 10, 100])
def test_recall_with_changes_is_that_of_the_generation(generation: Generation, k: int) -> None:
    view, queries = changed(generation), clustered(150, DIM, seed=7)
    assert recall(view, queries, k) >= recall(generation, queries, k) - 0.002


def test_no_row_of_the_changes_is_missed(generation: Generation) -> None:
    view, queries = changed(generation), clustered(150, DIM, seed=8)
    found = view.search_rows(queries, 10)
    expected = view.search_rows(queries, 10, exact=True)
    new = expected.rows >= generation.count
    assert new.sum() > 200
    there = [
        row in found.rows[query]
        for query, place in zip(*np.nonzero(new), strict=True)
        for row in [expected.rows[query, place]]
    ]
    assert np.mean(there) >= 0.998


def test_most_rows_are_passed_over(generation: Generation) -> None:
    view, queries = changed(generation), clustered(50, DIM, seed=9)
    alone = generation.search_rows(queries, 10).scored.mean()
    assert view.search_rows(queries, 10).scored.mean() - alone < view.alive.delta.count / 3


def test_filters_and_deletes_hold(generation: Generation) -> None:
    view, queries = changed(generation), clustered(40, DIM, seed=10)
    keep = view.filter({"field": "lang", "eq": "en"})
    found = view.search_rows(queries, 20, keep=keep)
    assert all(keep.holds(row) for row in found.rows.ravel().tolist())
    assert recall(view, queries, 20, keep) > 0.995
    everything = view.search_rows(queries[:3], 50)
    again = [row for row in everything.rows.ravel().tolist() if view.external_id(row) == "again"]
    assert all(row == view.row_of("again") for row in again)
    assert all(view.alive.holds(row) for row in everything.rows.ravel().tolist())


def test_a_query_is_answered_alike_alone_and_in_a_batch(generation: Generation) -> None:
    view, queries = changed(generation), clustered(300, DIM, seed=11)
    together = view.search_rows(queries, 10)
    for query in range(len(queries)):
        alone = view.search_rows(queries[query : query + 1], 10)
        assert np.array_equal(alone.rows[0], together.rows[query])
        assert np.array_equal(alone.scores[0], together.scores[query])


def test_few_survivors_are_all_compared(generation: Generation) -> None:
    """Such a search says that it was exact, so it has to be."""
    view, queries = changed(generation), clustered(20, DIM, seed=12)
    some = np.arange(generation.count, generation.count + 40)
    keep = view.without(None, np.setdiff1d(np.arange(view.rows), some))
    assert view.compares_all(10, None, keep)
    found, expected = (view.search_rows(queries, 10, exact=exact, keep=keep) for exact in (False, True))
    assert np.array_equal(found.rows, expected.rows)
    assert (found.scored == keep.count).all()


def test_equal_scores_come_in_the_order_of_ids(generation: Generation) -> None:
    delta, vector = Delta(generation, 0), generation.vector(5)
    delta.apply([put(seq, f"doc-{name}", vector) for seq, name in enumerate(("x", "1x", "9x", "0x"), 1)])
    view = View(generation, delta.snapshot())
    found = view.search_rows(np.stack([vector, vector]), 8)
    best = found.scores[0, 0] if generation.metric != "ip" else found.scores[0][list(found.rows[0]).index(5)]
    for rows, scores in zip(found.rows, found.scores, strict=True):
        tied = [view.external_id(row) for row in rows[scores == best].tolist()]
        assert len(tied) >= 5
        assert tied == sorted(tied)


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("k", [1, 5, 60])
def test_of_many_copies_the_first_ids_are_found_whatever_was_written_first(
    generation: Generation, k: int, exact: bool
) -> None:
    """More of them than are asked for, so that a tie is cut; and the last to be written has the first id."""
    delta, vector = Delta(generation, 0), generation.vector(5) * (4 if generation.metric == "ip" else 1)
    delta.apply([put(seq, f"copy-{200 - seq:03}", vector) for seq in range(1, 151)])
    view = View(generation, delta.snapshot())
    found = view.search_rows(np.stack([vector, vector]), k, exact=exact)
    for rows in found.rows:
        copies = [id_ for id_ in map(view.external_id, rows.tolist()) if id_.startswith("copy-")]
        assert copies == [f"copy-{number:03}" for number in range(50, 50 + len(copies))]
        assert len(copies) >= max(1, k - 1)


def signs_of(vectors: NDArray[np.float32], l2: bool, sample: NDArray[np.float32], unit: str) -> Any:
    dim = vectors.shape[1]
    frame = np.empty(_native.sieve_frame_floats(dim), np.float32)
    _native.sieve_frame(sample, l2, frame, unit)
    groups = np.empty((len(vectors) // sieve.ROWS, _native.sieve_bytes(dim)), np.uint8)
    _native.sieve_groups(frame, vectors[: len(groups) * sieve.ROWS], l2, groups, unit)
    return frame, groups


def sieved(
    vectors: NDArray[np.float32],
    queries: NDArray[np.float32],
    k: int,
    l2: bool,
    margin: float,
    unit: str = "",
    **how: Any,
) -> exact.TopK:
    codes = quantise(vectors, "l2" if l2 else "ip")
    frame, groups = signs_of(vectors, l2, how.get("sample", vectors), unit)
    scale = codes.step, codes.error_norm, codes.row_norm, codes.square_norms
    made = _native.Sieve(frame, groups, vectors, codes.codes, *scale, l2)
    shape = len(queries), k
    found = exact.TopK(np.empty(shape, np.int64), np.empty(shape, np.float32), np.empty(len(queries), np.int64))
    least = how.get("least", np.full(len(queries), -np.inf, np.float32))
    made.search(queries, margin, least, None, *found, unit)
    return found


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("l2", [False, True])
@pytest.mark.parametrize("dim", [3, 64, 65, 384])
def test_every_unit_sees_the_same_signs(unit: str, l2: bool, dim: int) -> None:
    vectors, queries = clustered(700, dim), clustered(9, dim, seed=3)
    expected, found = (signs_of(vectors, l2, vectors[:50], each) for each in ("scalar", unit))
    assert all(np.array_equal(one, other) for one, other in zip(expected, found, strict=True))
    one, other = (sieved(vectors, queries, 10, l2, sieve.MARGIN, each) for each in ("scalar", unit))
    assert np.array_equal(one.rows, other.rows)
    assert np.array_equal(one.scored, other.scored)


@pytest.mark.parametrize("l2", [False, True])
@pytest.mark.parametrize("count", [1, 31, 32, 33, 255, 257, 700])
def test_rows_of_any_length_and_queries_of_none_are_found(l2: bool, count: int) -> None:
    """Rows too far away for the sixteen bits of an estimate are looked at, and all rows where nothing can be told."""
    vectors = clustered(count, 24)
    vectors[::5] *= 1e5
    vectors[1::7] = 0
    vectors[2::9] *= 1e-20
    queries = np.concatenate([clustered(6, 24, seed=4), np.zeros((1, 24)), clustered(2, 24, seed=5) * 1e17]).astype(
        np.float32
    )
    k = min(count, 12)
    for sample in (vectors, clustered(40, 24)):
        found = sieved(vectors, queries, k, l2, 20.0, sample=sample)
        expected = exact.search(queries, vectors, k, "l2" if l2 else "ip")
        assert np.array_equal(found.rows, expected.rows)
        assert np.array_equal(found.scores, expected.scores)


@pytest.mark.parametrize("l2", [False, True])
def test_the_margin_is_what_finds_them(l2: bool) -> None:
    vectors, queries = (unit_rows(clustered(count, 128, seed=count, spread=1.2)) for count in (6000, 300))
    expected = exact.search(queries, vectors, 10, "l2" if l2 else "ip")
    share = {}
    for margin in (0.0, sieve.MARGIN):
        found = sieved(vectors, queries, 10, l2, margin, least=expected.scores[:, -1])
        share[margin] = (found.rows[:, :, None] == expected.rows[:, None]).any(1).mean()
    assert share[0.0] < 0.9
    assert share[sieve.MARGIN] > 0.998


def test_what_is_below_the_wanted_score_is_not_looked_at() -> None:
    vectors, queries = (unit_rows(clustered(count, 128, seed=count)) for count in (4000, 20))
    freely = sieved(vectors, queries, 10, False, sieve.MARGIN)
    none = sieved(vectors, queries, 10, False, sieve.MARGIN, least=np.full(20, 5.0, np.float32))
    assert (freely.scored > 100).all()
    assert (none.scored == 0).all()
    assert (none.rows == -1).all()


def test_signs_of_a_snapshot_stay_while_rows_are_added(generation: Generation) -> None:
    delta, vectors = Delta(generation, 0), clustered(4000, DIM, seed=20)
    delta.apply([put(seq, f"a{seq}", vector) for seq, vector in enumerate(vectors[:900], 1)])
    view, queries = View(generation, delta.snapshot()), clustered(20, DIM, seed=21)
    before = view.search_rows(queries, 10)
    delta.apply([put(seq, f"b{seq}", vector) for seq, vector in enumerate(vectors[900:], 901)])
    after = view.search_rows(queries, 10)
    assert np.array_equal(before.rows, after.rows)
    assert np.array_equal(before.scores, after.scores)
    assert recall(View(generation, delta.snapshot()), queries, 10) >= 0.99


def test_a_flat_generation_is_searched_exactly_with_its_changes(tmp_path: Path) -> None:
    with index.open_generation(
        index.build_generation(clustered(500, DIM), names(500), root=tmp_path, name="docs", family="flat")
    ) as opened:
        delta = Delta(opened, 0)
        delta.apply([put(seq, f"n{seq}", vector) for seq, vector in enumerate(clustered(300, DIM, seed=2), 1)])
        found = View(opened, delta.snapshot()).search_rows(clustered(3, DIM, seed=5), 10)
        assert (found.scored == 800).all()
