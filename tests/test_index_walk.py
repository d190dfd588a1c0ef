"""The walk finds what brute force finds, the same in every unit and on any number of threads."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from indexing import clustered, names
from numpy.typing import NDArray
from walks import COUNT, DIM, encoded, nearest_links, recall_at

from index import kernels, open_generation
from index.build import recall
from index.build.families import PROFILES
from index.build.graph import of_one_length
from index.disk import codes, layout
from index.disk.layout import DEGREE, Layout, Profile
from index.search import exact
from index.search.untyped import faiss

pytest_plugins = ["walks_fixtures"]


UNITS = kernels.units()


def refined(
    vectors: NDArray[np.float32],
    links: NDArray[np.int32],
    threads: int = 1,
    unit: str = "",
    profile: Profile = "compact",
) -> NDArray[np.int32]:
    out = np.empty_like(links)
    encoded(vectors, links, True, threads, unit, profile).graph().refine(links, None, 20, 60, threads, out, unit)
    return out


def walk(
    made: Layout,
    vectors: NDArray[np.float32],
    queries: NDArray[np.float32],
    k: int,
    margin: float = 1.0,
    unit: str = "",
    keep: NDArray[np.uint64] | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.int64]]:
    count = len(queries)
    found = np.empty((count, k), np.int64), np.empty((count, k), np.float32), np.empty(count, np.int64)
    made.graph().search(queries, vectors, margin, 64 + 8 * k, keep, *found, 1, unit)
    return found


@pytest.mark.parametrize("dim", [1, 3, 63, 64, 65, 100, 128, 192, 384])
@pytest.mark.parametrize("count", [1, 2, 31, 32, 33, 250])
@pytest.mark.parametrize("profile", PROFILES)
def test_every_unit_encodes_refines_and_finds_as_the_scalar_one(dim: int, count: int, profile: Profile) -> None:
    vectors, queries = clustered(count, dim, seed=dim), clustered(9, dim, seed=dim + 1)
    near = nearest_links(vectors)
    k = min(10, count)
    answers = {}
    for unit in UNITS:
        links = refined(vectors, near, unit=unit, profile=profile)
        answers[unit] = [hashed(links)]
        for l2 in (False, True):
            made = encoded(vectors, links, l2, unit=unit, profile=profile)
            rows, _, scored = walk(made, vectors, queries, k, unit=unit)
            parts = (made.blocks, made.root, rows, scored, *([] if made.spokes is None else [made.spokes]))
            answers[unit] += [*map(hashed, parts), made.gain, made.edge_rms]
    assert all(answer == answers["scalar"] for answer in answers.values())


def hashed(part: NDArray[Any]) -> str:
    return hashlib.sha256(np.ascontiguousarray(part).tobytes()).hexdigest()


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
@pytest.mark.parametrize("l2", [False, True])
def test_any_scale_and_offset_is_found_as_well(scale: float, l2: bool) -> None:
    """The frame takes scale and (for l2) offset off before anything becomes f16."""
    vectors, queries = clustered(2000, 30), clustered(200, 30, seed=3)
    if l2:
        vectors, queries = vectors + 50, queries + 50
    vectors, queries = (vectors * scale).astype(np.float32), (queries * scale).astype(np.float32)
    links = nearest_links(of_one_length(vectors))
    for _ in range(2):
        links = refined(of_one_length(vectors), links)
    truth = exact.search(queries, vectors, 10, "l2" if l2 else "ip").rows
    for profile in PROFILES:
        found, _, _ = walk(encoded(vectors, links, l2, profile=profile), vectors, queries, 10, margin=2.0)
        assert np.mean([len(set(a) & set(b)) / 10 for a, b in zip(found, truth, strict=True)]) > 0.97, profile


def test_refinement_is_the_same_on_any_number_of_threads() -> None:
    vectors = clustered(3000, 40)
    links = np.random.default_rng(0).integers(-1, 3000, (3000, DEGREE)).astype(np.int32)
    once, often = refined(vectors, links, 1), refined(vectors, links, 4)
    np.testing.assert_array_equal(once, often)
    for profile in PROFILES:
        one, four = (encoded(vectors, once, True, threads, profile=profile) for threads in (1, 4))
        np.testing.assert_array_equal(one.blocks, four.blocks)
        if one.spokes is not None:
            np.testing.assert_array_equal(one.spokes, four.spokes)


def test_refinement_reaches_every_row_and_links_no_row_to_itself() -> None:
    """From links that leave half the rows unreachable, and with a hundred equal rows among them."""
    vectors = clustered(2000, 24)
    vectors[500:600] = vectors[500]
    links = np.full((2000, DEGREE), -1, np.int32)
    links[:1000, 0] = np.arange(1, 1001) % 1000
    for _ in range(2):
        links = refined(vectors, links)
    assert not (links == np.arange(2000)[:, None]).any()
    assert all(len(set(row[row >= 0])) == (row >= 0).sum() for row in links)
    reached = set(layout.sampled_roots(2000).tolist())
    waiting = list(reached)
    while waiting:
        new = set(links[waiting.pop()].tolist()) - reached - {-1}
        reached |= new
        waiting.extend(new)
    assert len(reached) == 2000


def test_large_k_is_found_as_well(built: Path, queries: NDArray[np.float32]) -> None:
    with open_generation(built) as generation:
        assert recall_at(generation, queries[:100], 100, 200) > 0.9
        assert recall_at(generation, queries[:20], 1000, 200) > 0.9


@pytest.mark.parametrize("k", [1, 10, 1000, COUNT - 1, COUNT, COUNT + 5])
def test_an_answer_always_has_all_that_there_is(built: Path, queries: NDArray[np.float32], k: int) -> None:
    with open_generation(built) as generation:
        rows, scores, _ = generation.search_rows(queries[:5], k)
        reach = min(k, COUNT)
        assert (rows[:, :reach] >= 0).all()
        assert (rows[:, reach:] == -1).all()
        assert all(len(set(row[:reach])) == reach for row in rows)
        assert (np.diff(scores[:, :reach]) <= 0).all()


def test_scores_are_those_of_exact_search(built: Path, queries: NDArray[np.float32]) -> None:
    with open_generation(built) as generation:
        found, truth = (generation.search_rows(queries, 10, exact=exactly) for exactly in (False, True))
        pairs = [
            {
                (q, int(row)): score
                for q, rows in enumerate(answer.rows)
                for row, score in zip(rows, answer.scores[q], strict=True)
            }
            for answer in (found, truth)
        ]
        same = [(pairs[0][key], pairs[1][key]) for key in pairs[0].keys() & pairs[1].keys()]
        assert len(same) > 0.9 * found.rows.size
        assert all(one == other for one, other in same)


def test_equal_vectors_are_all_found_in_the_order_of_their_rows(built: Path) -> None:
    with open_generation(built) as generation:
        row = generation.row_of(names(COUNT)[100])
        assert row is not None
        found = generation.search_rows(generation.vector(row)[None], 60)
        if generation.metric != "ip":
            assert len(set(found.scores[0, :60].tolist())) == 1
        ties = [
            found.rows[0, i + 1] > found.rows[0, i] for i in range(59) if found.scores[0, i] == found.scores[0, i + 1]
        ]
        assert all(ties)


def test_threads_and_huge_pages_change_no_answer(built: Path, queries: NDArray[np.float32]) -> None:
    with open_generation(built) as generation:
        expected = generation.search_rows(queries, 10)
        one_by_one = [generation.search_rows(queries[i : i + 1], 10).rows[0] for i in range(50)]
    np.testing.assert_array_equal(expected.rows[:50], one_by_one)
    for how in ({"threads": 3}, {"huge_pages": True}):
        with open_generation(built, **how) as generation:
            for one, other in zip(expected, generation.search_rows(queries, 10), strict=True):
                np.testing.assert_array_equal(one, other)


@pytest.fixture(scope="module")
def stock_graphs() -> dict[str, Any]:
    """By metric, the graph that FAISS builds of the rows, which are the same in every profile."""
    return {}


def test_stock_faiss_searches_the_file_at_least_as_well_as_its_own_graph(
    built: Path, queries: NDArray[np.float32], stock_graphs: dict[str, Any]
) -> None:
    """The refined links against those of a build with ten times the effort that ours began with."""
    stored = faiss.read_index(str(built / "index.faiss"))
    assert isinstance(stored, faiss.IndexHNSWFlat)
    with open_generation(built) as generation:
        vectors = np.stack([generation.vector(row) for row in range(COUNT)])
        if generation.metric == "cosine":
            queries = codes.unit_rows(queries)
        if generation.metric not in stock_graphs:
            own = stock_graphs[generation.metric] = faiss.IndexHNSWFlat(DIM, DEGREE // 2, stored.metric_type)
            own.hnsw.efConstruction = 200
            own.add(vectors)
        metric = "l2" if generation.metric == "l2" else "ip"
        truth = exact.search(queries, vectors, 10, metric).rows
    found = {}
    for name, index in (("stored", stored), ("own", stock_graphs[generation.metric])):
        index.hnsw.efSearch = 32
        rows = index.search(queries, 10)[1]
        found[name] = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(rows, truth, strict=True)])
    assert found["stored"] >= found["own"] - 0.01, found


def test_half_the_margin_is_not_enough(built: Path, queries: NDArray[np.float32]) -> None:
    with open_generation(built) as generation:
        effort = generation.effort_for(0.95)
        enough, half = (recall_at(generation, queries, 10, margin) for margin in (effort, effort // 2))
        assert enough >= 0.95 - 0.015
        assert half < 0.95 - 0.015
        assert half < enough - 0.01


def test_recall_of_the_manifest_is_measured_with_the_walk(built: Path) -> None:
    with open_generation(built) as generation:
        curve = generation.manifest["effort"]["curve"]
        assert {point["effort"] for point in curve} >= {100}
        held_out = recall.held_out_rows(COUNT)
        again = recall_at(generation, np.stack([generation.vector(int(row)) for row in held_out]), 10, 100)
        assert again >= next(point["recall"] for point in curve if point["effort"] == 100) - 0.02
