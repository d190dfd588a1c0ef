"""The walk finds what brute force finds, the same in every unit and on any number of threads, through any filter."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from indexing import brute_force, clustered, names
from numpy.typing import NDArray

from index import InputError, build_generation, kernels, open_generation
from index.build import recall
from index.build.families import PROFILES
from index.build.graph import of_one_length
from index.disk import codes, layout
from index.disk.layout import DEGREE, Layout, Profile
from index.kernels import _native
from index.search import exact
from index.search.bitmap import Bitmap
from index.search.finding import few
from index.search.generation import Generation
from index.search.untyped import faiss
from index.search.walk import Walk

UNITS = kernels.units()
METRICS = ("cosine", "ip", "l2")
DIM, COUNT = 48, 5000
FEW_SURVIVORS = few("graph", COUNT, 50)


def nearest_links(vectors: NDArray[np.float32]) -> NDArray[np.int32]:
    """The DEGREE nearest others of each row, −1 where there are fewer: a poor graph, but a graph."""
    count = len(vectors)
    rows, _ = brute_force(vectors, vectors, min(count, DEGREE + 1), "l2")
    links = np.full((count, DEGREE), -1, np.int32)
    for row, near in enumerate(rows):
        others = near[near != row][:DEGREE]
        links[row, : len(others)] = others
    return links


def encoded(
    vectors: NDArray[np.float32],
    links: NDArray[np.int32],
    l2: bool,
    threads: int = 1,
    unit: str = "",
    profile: Profile = "compact",
) -> Layout:
    count, dim = vectors.shape
    roots = layout.sampled_roots(count)
    sizes = layout.row_sizes(count, dim, profile)
    blocks = np.zeros(sizes[layout.BLOCKS_FILE], np.uint8)
    spokes = np.zeros(sizes[layout.SPOKES_FILE], np.uint8) if profile == "compact" else None
    root = np.zeros(_native.root_bytes(dim, len(roots)), np.uint8)
    gain, edge_rms = _native.encode(vectors, links, roots.astype(np.int32), l2, blocks, root, threads, unit, spokes)
    return Layout(blocks, root, count, dim, l2, gain, edge_rms, spokes)


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


@pytest.mark.parametrize("l2", [False, True])
@pytest.mark.parametrize("dim", [1, 3, 63, 64, 65, 100, 128, 192, 384])
@pytest.mark.parametrize("count", [1, 2, 31, 32, 33, 400])
@pytest.mark.parametrize("profile", PROFILES)
def test_every_unit_encodes_refines_and_finds_as_the_scalar_one(
    dim: int, count: int, l2: bool, profile: Profile
) -> None:
    vectors, queries = clustered(count, dim, seed=dim), clustered(9, dim, seed=dim + 1)
    answers = {}
    for unit in UNITS:
        links = refined(vectors, nearest_links(vectors), unit=unit, profile=profile)
        made = encoded(vectors, links, l2, unit=unit, profile=profile)
        k = min(10, count)
        rows, _, scored = walk(made, vectors, queries, k, unit=unit)
        parts = (links, made.blocks, made.root, rows, scored, *([] if made.spokes is None else [made.spokes]))
        digest = [hashlib.sha256(np.ascontiguousarray(part).tobytes()).hexdigest() for part in parts]
        answers[unit] = [*digest, made.gain, made.edge_rms]
    assert all(answer == answers["scalar"] for answer in answers.values())


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
@pytest.mark.parametrize("l2", [False, True])
@pytest.mark.parametrize("profile", PROFILES)
def test_any_scale_and_offset_is_found_as_well(scale: float, l2: bool, profile: Profile) -> None:
    """The frame takes scale and (for l2) offset off before anything becomes f16."""
    vectors, queries = clustered(2000, 30), clustered(200, 30, seed=3)
    if l2:
        vectors, queries = vectors + 50, queries + 50
    vectors, queries = (vectors * scale).astype(np.float32), (queries * scale).astype(np.float32)
    links = nearest_links(of_one_length(vectors))
    for _ in range(2):
        links = refined(of_one_length(vectors), links)
    found, _, _ = walk(encoded(vectors, links, l2, profile=profile), vectors, queries, 10, margin=2.0)
    truth = exact.search(queries, vectors, 10, "l2" if l2 else "ip").rows
    assert np.mean([len(set(a) & set(b)) / 10 for a, b in zip(found, truth, strict=True)]) > 0.97


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


@pytest.fixture(scope="module", params=[(metric, profile) for metric in METRICS for profile in PROFILES], ids="-".join)
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    vectors = clustered(COUNT, DIM)
    vectors[100:160] = vectors[100]
    metric, profile = request.param
    vectors[200:203] = 0 if metric != "cosine" else vectors[3]
    root = tmp_path_factory.mktemp("walk")
    # One thread: with several, FAISS links rows in the order in which they happen to come, and recall differs a little.
    how = {"family": "graph", "metric": metric, "profile": profile, "threads": 1}
    return build_generation(vectors, names(COUNT), root=root, name="walk", **how)


@pytest.fixture(scope="module")
def queries() -> NDArray[np.float32]:
    return clustered(500, DIM, seed=77)


def recall_at(generation: Generation, queries: NDArray[np.float32], k: int, effort: int | None, **how: Any) -> float:
    """Share of the best k by score, so that equal vectors stand for one another."""
    scores = generation.search_rows(queries, k, effort, **how).scores
    truth = generation.search_rows(queries, k, exact=True, **how).scores
    return float((scores >= truth[:, -1:]).mean())


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


def test_stock_faiss_searches_the_file_at_least_as_well_as_its_own_graph(
    built: Path, queries: NDArray[np.float32]
) -> None:
    """The refined links against those of a build with ten times the effort that ours began with."""
    stored = faiss.read_index(str(built / "index.faiss"))
    assert isinstance(stored, faiss.IndexHNSWFlat)
    with open_generation(built) as generation:
        vectors = np.stack([generation.vector(row) for row in range(COUNT)])
        if generation.metric == "cosine":
            queries = codes.unit_rows(queries)
        own = faiss.IndexHNSWFlat(DIM, DEGREE // 2, stored.metric_type)
        own.hnsw.efConstruction = 200
        own.add(vectors)
        metric = "l2" if generation.metric == "l2" else "ip"
        truth = exact.search(queries, vectors, 10, metric).rows
    found = {}
    for name, index in (("stored", stored), ("own", own)):
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


KEPT = st.one_of(
    st.sampled_from([0, 1, 2, 9, 10, 11, FEW_SURVIVORS - 1, FEW_SURVIVORS, FEW_SURVIVORS + 1, COUNT - 1, COUNT]),
    st.integers(0, COUNT),
)


@settings(max_examples=40, deadline=None)
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
        few = generation.few(300)
        assert few < COUNT - 100
        for survivors in (few + 1, (few + COUNT) // 2, COUNT - 1):
            keep = np.zeros(COUNT, bool)
            keep[np.random.default_rng(survivors).choice(COUNT, survivors, replace=False)] = True
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


def test_damaged_blocks_are_survived(built: Path, queries: NDArray[np.float32]) -> None:
    """Hashes refuse them; but who skips the hashes must at worst get wrong rows."""
    with open_generation(built) as generation:
        intact = layout.load(built, generation.manifest)
        vectors = np.stack([generation.vector(row) for row in range(COUNT)])
    random = np.random.default_rng(8)
    for share in (1e-6, 1e-4, 1e-2, 1.0):
        blocks, root = np.array(intact.blocks), np.array(intact.root)
        spokes = None if intact.spokes is None else np.array(intact.spokes)
        for array in (blocks, root) if spokes is None else (blocks, root, spokes):
            places = random.integers(0, len(array), max(1, int(share * len(array))))
            array[places] = random.integers(0, 256, len(places))
        damaged = intact._replace(blocks=blocks, root=root, spokes=spokes)
        found = Walk(damaged, vectors, 1).search(queries[:50], 10, 200)
        assert ((found.rows >= -1) & (found.rows < COUNT)).all()


@pytest.mark.parametrize(
    "change",
    [
        {"blocks": np.zeros(1000, np.uint8)},
        {"root": np.zeros(100, np.uint8)},
        {"count": COUNT + 3000},
        {"count": 0},
        {"dim": 0},
        {"dim": 5000},
    ],
)
def test_a_layout_that_is_too_short_is_refused(built: Path, change: dict[str, Any]) -> None:
    with open_generation(built) as generation:
        intact = layout.load(built, generation.manifest)
    with pytest.raises(ValueError, match=r"graph has|too short"):
        intact._replace(**change).graph()


def test_links_that_lead_out_of_the_graph_are_refused() -> None:
    vectors = clustered(50, 8)
    for link in (-2, 50):
        links = np.full((50, DEGREE), link, np.int32)
        with pytest.raises(ValueError, match="leads out of the graph"):
            encoded(vectors, links, True)


def test_sections_are_a_function_of_the_file_that_faiss_wrote(built: Path) -> None:
    """So that two machines that hold the same index.faiss hold the same sections."""
    stored = faiss.read_index(str(built / "index.faiss"))
    starts = faiss.vector_to_array(stored.hnsw.offsets).astype(np.int64)[:-1]
    links = faiss.vector_to_array(stored.hnsw.neighbors)[starts[:, None] + np.arange(DEGREE)]
    with open_generation(built) as generation:
        vectors = np.stack([generation.vector(row) for row in range(COUNT)])
        l2, profile = generation.metric == "l2", generation.profile
        assert profile is not None
        made = encoded(vectors, np.ascontiguousarray(links), l2, threads=2, profile=profile)
        written = layout.load(built, generation.manifest)
    if made.spokes is not None:
        assert written.spokes is not None
        np.testing.assert_array_equal(made.spokes, written.spokes[: len(made.spokes)])
    np.testing.assert_array_equal(made.blocks, written.blocks[: len(made.blocks)])
    np.testing.assert_array_equal(made.root, written.root)
    assert (made.gain, made.edge_rms) == pytest.approx((written.gain, written.edge_rms), rel=1e-7)


def test_wide_vectors_get_lists_and_no_graph(tmp_path: Path) -> None:
    vectors = clustered(300, layout.MAX_DIM + 1)
    with pytest.raises(InputError, match="a graph has at most 4,096 dimensions"):
        build_generation(vectors, range(300), root=tmp_path, name="wide", family="graph")
    assert list(tmp_path.iterdir()) == []


def test_recall_of_the_manifest_is_measured_with_the_walk(built: Path) -> None:
    with open_generation(built) as generation:
        curve = generation.manifest["effort"]["curve"]
        assert {point["effort"] for point in curve} >= {100}
        held_out = recall.held_out_rows(COUNT)
        again = recall_at(generation, np.stack([generation.vector(int(row)) for row in held_out]), 10, 100)
        assert again >= next(point["recall"] for point in curve if point["effort"] == 100) - 0.02
