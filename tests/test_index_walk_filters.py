"""The walk through a filter: survivors only, as many as there are, at no cost in recall."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from indexing import brute_force, clustered
from numpy.typing import NDArray
from walks import COUNT, DIM, recall_at

from index import InputError, build_generation, open_generation
from index.build.graph import of_one_length
from index.disk import codes
from index.search.bitmap import Bitmap

pytest_plugins = ["walks_fixtures"]


KEPT = st.one_of(
    st.sampled_from([0, 1, 2, 9, 10, 11, COUNT // 4, COUNT // 4 + 1, COUNT - 1, COUNT]),
    st.integers(0, COUNT),
)


@settings(max_examples=examples(40))
@given(survivors=KEPT, seed=st.integers(0, 99), k=st.sampled_from([1, 10, 30]), packed=st.booleans(), run=st.booleans())
def test_a_filter_returns_survivors_only_and_as_many_as_there_are(
    built: Path, survivors: int, seed: int, k: int, packed: bool, run: bool
) -> None:
    random = np.random.default_rng(seed)
    keep = np.zeros(COUNT, bool)
    keep[np.arange(survivors) if run else random.choice(COUNT, survivors, replace=False)] = True
    queries = clustered(20, DIM, seed=seed)
    given_keep = np.packbits(keep, bitorder="little") if packed else keep
    with open_generation(built, verify=False) as generation:
        found = generation.search_rows(queries, k, 300, keep=given_keep)
        exactly = generation.search_rows(queries, k, keep=given_keep, exact=True)
        vectors = np.stack([generation.vector(row) for row in np.flatnonzero(keep)]) if survivors else None
        metric = "l2" if generation.metric == "l2" else "ip"
        if generation.metric == "cosine":
            queries = codes.unit_rows(queries)
    reach = min(k, survivors)
    for answer in (found, exactly):
        assert (answer.rows[:, :reach] >= 0).all()
        assert (answer.rows[:, reach:] == -1).all()
        assert np.isneginf(answer.scores[:, reach:]).all()
        assert keep[answer.rows[:, :reach]].all()
    if vectors is not None:
        _, scores = brute_force(queries, vectors, reach, metric)
        np.testing.assert_allclose(exactly.scores[:, :reach], scores, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("k", [1, 10, 30])
def test_a_filter_costs_no_recall(built: Path, queries: NDArray[np.float32], k: int) -> None:
    with open_generation(built) as generation:
        for survivors in (COUNT // 4 + 1, COUNT // 2, COUNT - 1):
            keep = np.zeros(COUNT, bool)
            keep[np.random.default_rng(survivors).choice(COUNT, survivors, replace=False)] = True
            assert k > 10 or not generation.compares_all(k, 300, Bitmap(keep, COUNT))
            assert recall_at(generation, queries, k, 300, keep=keep) > 0.97


@pytest.mark.parametrize(
    "keep",
    [np.ones(COUNT - 1, bool), np.ones((COUNT, 1), bool), np.ones(COUNT, np.int64), np.ones(COUNT, np.uint8)],
)
def test_a_filter_of_another_shape_is_refused(built: Path, keep: NDArray[Any]) -> None:
    with open_generation(built) as generation, pytest.raises(InputError, match=r"keep is .*; expected bool \(5000,\)"):
        generation.search_rows(clustered(1, DIM), 1, keep=keep)


def test_a_bitmap_counts_and_lists_its_rows_and_ignores_bits_beyond() -> None:
    for count in (1, 7, 8, 63, 64, 65, 200):
        keep = np.random.default_rng(count).random(count) < 0.4
        packed = np.packbits(keep, bitorder="little")
        packed[-1] |= 0xFF & ~((1 << (count - 1) % 8 + 1) - 1)
        for given_keep in (keep, packed):
            bitmap = Bitmap(given_keep, count)
            np.testing.assert_array_equal(bitmap.rows, np.flatnonzero(keep))
            assert bitmap.count == keep.sum()


def test_filters_work_in_every_family(tmp_path: Path) -> None:
    vectors, keep = clustered(2500, 16), np.random.default_rng(1).random(2500) < 0.6
    for family in ("flat", "graph", "ivf"):
        path = build_generation(vectors, range(2500), root=tmp_path, name=family, family=family, recall_target=0.9)
        with open_generation(path) as generation:
            found = generation.search_rows(vectors[:50], 10, keep=keep)
            assert keep[found.rows].all()
            truth, _ = brute_force(vectors[:50], vectors[keep], 10, "cosine")
            hits = [len(set(a) & set(np.flatnonzero(keep)[b])) for a, b in zip(found.rows, truth, strict=True)]
            assert np.mean(hits) > 8.5


def test_inner_products_of_unequal_lengths_become_distances() -> None:
    vectors = clustered(300, 8) * np.random.default_rng(0).uniform(0.2, 5, (300, 1)).astype(np.float32)
    longer = of_one_length(vectors)
    assert longer.shape == (300, 9)
    np.testing.assert_allclose(codes.norms(longer), codes.norms(vectors).max(), rtol=1e-5)
    unit = codes.unit_rows(vectors)
    assert of_one_length(unit) is unit
