"""Exact search must be exact: against float64 NumPy, with codes and without, whatever the data is like."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from indexing import brute_force, clustered
from numpy.typing import NDArray

from index.disk.codes import quantise, unit_rows
from index.kernels import _native
from index.search import exact

METRICS = ("cosine", "ip", "l2")


def both_ways(queries: NDArray, vectors: NDArray, k: int, metric: str, threads: int = 1) -> exact.TopK:
    """The answer, once it is the same bit for bit with codes and without."""
    if metric == "cosine":  # codes belong to the vectors that are scored
        queries, vectors, metric = unit_rows(queries), unit_rows(vectors), "ip"
    plain = exact.search(queries, vectors, k, metric, threads=threads)
    coded = exact.search(queries, vectors, k, metric, codes=quantise(vectors, metric), threads=threads)
    for ours, theirs in zip(coded, plain, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    return plain


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dim", [1, 7, 64, 100])
def test_finds_what_float64_finds(metric: str, dim: int) -> None:
    vectors, queries = clustered(700, dim), clustered(20, dim, seed=5)
    found = both_ways(queries, vectors, 10, metric)
    rows, scores = brute_force(queries, vectors, 10, metric)
    np.testing.assert_allclose(found.scores, scores, rtol=1e-5, atol=1e-5)
    # float32 may swap rows whose scores differ by less than its rounding: compare as sets above that.
    for ours, theirs, score in zip(found.rows, rows, scores, strict=True):
        clear = set(theirs[score > score[-1] + 1e-4 * (1 + abs(score[-1]))])
        assert clear <= set(ours)


@settings(max_examples=120)
@given(
    count=st.integers(1, 300),
    dim=st.integers(1, 70),
    k=st.integers(1, 20),
    metric=st.sampled_from(METRICS),
    seed=st.integers(0, 2**32 - 1),
    shape=st.sampled_from(["even", "outlier", "duplicates", "tiny", "vanishing", "huge", "one axis"]),
)
def test_codes_never_change_the_answer(count: int, dim: int, k: int, metric: str, seed: int, shape: str) -> None:
    random = np.random.default_rng(seed)
    vectors = random.normal(size=(count, dim)).astype(np.float32)
    if shape == "outlier":
        vectors[0] *= 1e6  # one scale for all: every other row's codes become zero
    elif shape == "duplicates":
        vectors[:] = vectors[random.integers(0, min(3, count), count)]
    elif shape == "tiny":
        vectors *= np.float32(1e-20)
    elif shape == "vanishing":
        vectors *= np.float32(1e-30)  # every product underflows to zero
    elif shape == "huge":
        vectors *= np.float32(1e8)
    elif shape == "one axis":
        vectors[:, 1:] = 0
        vectors[vectors[:, 0] == 0, 0] = 1
    queries = vectors[random.integers(0, count, 4)] + random.normal(size=(4, dim)).astype(np.float32) * vectors.std()
    queries[~queries.any(axis=1)] = 1
    both_ways(queries.astype(np.float32), vectors, k, metric, threads=int(random.integers(1, 4)))


def test_few_rows_are_left_to_score_in_float32() -> None:
    """The bound must be tight enough to be worth having, not only right."""
    vectors, queries = unit_rows(clustered(20000, 64)), unit_rows(clustered(20, 64, seed=5))
    codes = quantise(vectors)
    rescored = exact.TopK(np.empty((20, 10), np.int64), np.empty((20, 10), np.float32), np.empty(20, np.int64))
    scale = (codes.step, codes.error_norm, codes.row_norm, codes.square_norms)
    _native.scan_i8(queries, vectors, codes.codes, *scale, False, 1, *rescored)
    assert (rescored.scored >= 10).all()
    assert rescored.scored.mean() < 0.02 * len(vectors)


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
@pytest.mark.parametrize("count", [1, 2, 5, 300])
def test_threads_and_batches_do_not_change_the_answer(threads: int, count: int, monkeypatch: Any) -> None:
    monkeypatch.setattr(exact, "ROWS_WORTH_A_THREAD", 100)
    vectors = unit_rows(clustered(1500, 33))
    queries = unit_rows(clustered(count, 33, seed=2))
    one = exact.search(queries, vectors, 12)
    many = exact.search(queries, vectors, 12, codes=quantise(vectors), threads=threads)
    np.testing.assert_array_equal(one.rows, many.rows)
    np.testing.assert_array_equal(one.scores, many.scores)


@pytest.mark.parametrize("metric", ["ip", "l2"])
@pytest.mark.parametrize("count", [1, 2, 40])
def test_threads_see_the_filter_and_the_norms_of_their_own_rows(count: int, metric: str, monkeypatch: Any) -> None:
    monkeypatch.setattr(exact, "ROWS_WORTH_A_THREAD", 100)
    vectors, queries = clustered(1500, 33), clustered(count, 33, seed=2)
    kept = np.random.default_rng(1).random(1500) < 0.02
    words = np.packbits(np.pad(kept, (0, 36)), bitorder="little").view(np.uint64)
    alone = exact.search(queries, vectors[kept], 12, metric)
    for codes in (None, quantise(vectors, metric)):
        for threads in (1, 3):
            found = exact.search(queries, vectors, 12, metric, codes=codes, threads=threads, keep=words)
            np.testing.assert_array_equal(found.rows, np.flatnonzero(kept)[alone.rows])
            np.testing.assert_array_equal(found.scores, alone.scores)


def test_ties_go_to_the_lower_row() -> None:
    vectors = np.tile(unit_rows(clustered(1, 20)), (20000, 1))
    for codes in (None, quantise(vectors)):
        for threads in (1, 2):
            found = exact.search(vectors[:1], vectors, 7, codes=codes, threads=threads)
            assert found.rows.tolist() == [[0, 1, 2, 3, 4, 5, 6]]


def test_fewer_vectors_than_k_are_padded() -> None:
    vectors = clustered(3, 8)
    for codes in (None, quantise(vectors)):
        for threads in (1, 4):
            found = exact.search(vectors[:2], vectors, 5, codes=codes, threads=threads)
            assert (found.rows[:, 3:] == -1).all()
            assert np.isneginf(found.scores[:, 3:]).all()
            assert (found.rows[:, :3] >= 0).all()
            assert found.scored.tolist() == [3, 3]


def test_no_queries_and_no_vectors() -> None:
    nothing = np.zeros((0, 8), np.float32)
    assert exact.search(nothing, clustered(3, 8), 2).rows.shape == (0, 2)
    found = exact.search(clustered(2, 8), nothing, 2)
    assert (found.rows == -1).all()


def test_unaligned_vectors_of_a_mapped_file() -> None:
    vectors = unit_rows(clustered(300, 24))
    raw = np.zeros(vectors.nbytes + 3, np.uint8)
    raw[3:] = vectors.view(np.uint8).ravel()
    unaligned = raw[3:].view(np.float32).reshape(vectors.shape)
    assert not unaligned.flags.aligned
    expected = exact.search(vectors[:4], vectors, 5)
    for codes in (None, quantise(vectors)):
        np.testing.assert_array_equal(exact.search(vectors[:4], unaligned, 5, codes=codes).rows, expected.rows)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 3e38])
def test_queries_that_cannot_rank_are_refused_by_number(bad: float) -> None:
    queries = clustered(3, 8)
    queries[1, 4] = bad
    with pytest.raises(ValueError, match="query 1 is not finite"):
        exact.search(queries, clustered(9, 8), 2)


@pytest.mark.parametrize(
    ("queries", "vectors", "k", "message"),
    [
        (np.zeros((1, 8)), np.zeros((2, 8), np.float32), 1, "queries are float64"),
        (np.zeros((1, 8), np.float32), np.zeros((2, 8), np.float16), 1, "vectors are float16"),
        (np.zeros(8, np.float32), np.zeros((2, 8), np.float32), 1, r"queries are float32 \(8,\)"),
        (np.zeros((1, 8), np.float32), np.zeros((2, 9), np.float32), 1, "8 dimensions and vectors 9"),
        (np.zeros((1, 8), np.float32), np.zeros((2, 8), np.float32), 0, "k is 0"),
    ],
)
def test_what_does_not_fit_is_refused(queries: NDArray, vectors: NDArray, k: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        exact.search(queries, vectors, k)


def test_a_zero_vector_has_no_cosine() -> None:
    vectors = clustered(5, 8)
    vectors[3] = 0
    with pytest.raises(ValueError, match="row 3 is zero"):
        exact.search(clustered(1, 8), vectors, 2, "cosine")


def test_importing_exact_search_does_not_import_faiss() -> None:
    import subprocess
    import sys

    code = "import sys, index.search.exact; sys.exit('faiss' in sys.modules or 'pyarrow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
