"""A graph whose float32 originals were dropped: what it finds, how it scores, what it says of it, and what it takes."""

from __future__ import annotations

import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from changing import DIM as WRITTEN_DIM
from changing import Documents, vector, write
from click.testing import CliRunner
from indexing import brute_force, clustered, names
from numpy.typing import NDArray
from once import once
from walks import COUNT, DIM, METRICS, encoded

from index import GenerationError, InputError, Root, build_generation, kernels, open_generation, verify
from index.backup.pull import pull
from index.backup.push import push
from index.backup.store import FolderStore
from index.build.families import PROFILES
from index.changes.delta import Delta
from index.changes.fold import FoldedTo, fold, folded_to
from index.changes.log import Log
from index.changes.log_reader import changes
from index.changes.rebuild import folded_from_served, served_rows
from index.changes.view import View
from index.disk import layout
from index.disk.codes import Metric
from index.disk.layout import DEGREE, Profile
from index.disk.manifest import read_manifest
from index.exporting import export
from index.search.exact import TopK
from index.search.finding import SearchPlan, find
from index.search.generation import Generation
from index.search.walk import Walk

K = 10


def vectors_of(metric: Metric) -> NDArray[np.float32]:
    """Some of them equal, and where they may be, some zero."""
    vectors = clustered(COUNT, DIM)
    vectors[100:160] = vectors[100]
    vectors[200:203] = 0 if metric != "cosine" else vectors[3]
    return vectors


def build_both(root: Path, *, metric: Metric, profile: Profile) -> None:
    how: dict[str, Any] = {"family": "graph", "metric": metric, "profile": profile, "threads": 1}
    for name in ("keep", "drop"):
        build_generation(vectors_of(metric), names(COUNT), root=root, name=name, originals=name, **how)


@pytest.fixture(scope="module", params=[(metric, profile) for metric in METRICS for profile in PROFILES], ids="-".join)
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Root:
    metric, profile = request.param
    make = partial(build_both, metric=metric, profile=profile)
    return Root(once(tmp_path_factory, f"originals-{metric}-{profile}", make))


@pytest.fixture(scope="module")
def queries() -> NDArray[np.float32]:
    return clustered(500, DIM, seed=77)


def scores_of_rows(generation: Generation, queries: NDArray[np.float32]) -> NDArray[np.float32]:
    """float32 (q, n), of an exact search."""
    every = generation.search_rows(queries, COUNT, exact=True)
    by_row = np.empty_like(every.scores)
    np.put_along_axis(by_row, every.rows, every.scores, axis=1)
    return by_row


def nearness(generation: Generation, queries: NDArray[np.float32], rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """float32 (q, k), of rows as they were given."""
    vectors, asked = generation.vectors(0, COUNT)[rows], generation.checked(queries)
    if generation.metric == "l2":
        return -np.square(vectors - asked[:, None]).sum(axis=2)
    return np.einsum("qkd,qd->qk", vectors, asked)


def test_no_more_than_a_five_hundredth_of_the_recall_is_lost(both: Root, queries: NDArray[np.float32]) -> None:
    """And that is what the rests are for: of the int8 codes alone more is lost."""
    with open_generation(both.path("keep")) as kept, open_generation(both.path("drop")) as dropped:
        effort = kept.default_effort
        tenth = nearness(kept, queries, kept.search_rows(queries, K, exact=True).rows[:, -1:])

        def recall(found: TopK) -> float:
            """Share of what was found that is as near as the tenth of all rows."""
            return float((nearness(kept, queries, found.rows) >= tenth).mean())

        with_originals = recall(kept.search_rows(queries, K, effort))
        without = recall(dropped.search_rows(queries, K, effort))
        assert without >= with_originals - 0.002
        assert recall(dropped.search_rows(queries, K, exact=True)) >= 0.998
        graph = layout.load(dropped.path, dropped.manifest)
        assert graph.rests is not None
        codes_alone = graph._replace(rests=np.full_like(graph.rests, 0x88))
        found = Walk(codes_alone, None, 1).search(dropped.checked(queries), K, effort)
        assert recall(found) < without - 0.002


def test_scores_are_those_of_the_restored_rows_and_nearly_those_of_the_originals(
    both: Root, queries: NDArray[np.float32]
) -> None:
    with open_generation(both.path("keep")) as kept, open_generation(both.path("drop")) as dropped:
        length = np.linalg.norm(kept.vectors(0, COUNT), axis=1).max()
        restored = dropped.vectors(0, COUNT)
        assert np.abs(restored - kept.vectors(0, COUNT)).max() < 5e-4 * length
        np.testing.assert_array_equal(restored[7:12], np.stack([dropped.vector(row) for row in range(7, 12)]))
        metric = "l2" if kept.metric == "l2" else "ip"
        asked = kept.checked(queries[:50])
        found, true = (each.search_rows(asked, COUNT, exact=True) for each in (dropped, kept))
        _, expected = brute_force(asked, restored, COUNT, metric)
        scale = float(np.abs(expected).max())
        np.testing.assert_allclose(found.scores, expected, atol=4e-5 * scale)
        np.testing.assert_allclose(found.scores, true.scores, atol=5e-4 * scale)
        assert (found.scored == COUNT).all()


def test_a_row_scores_the_same_whichever_way_it_is_found(both: Root, queries: NDArray[np.float32]) -> None:
    with open_generation(both.path("drop"), threads=3) as dropped:
        every = dropped.search_rows(queries[:40], COUNT, exact=True)
        assert (np.sort(every.rows, axis=1) == np.arange(COUNT)).all()
        ties = every.scores[:, 1:] == every.scores[:, :-1]
        assert ties.any()
        assert (every.rows[:, 1:] > every.rows[:, :-1])[ties].all()
        by_row = scores_of_rows(dropped, queries[:40])
        few, many = (np.random.default_rng(3).random(COUNT) < share for share in (0.02, 0.6))
        for keep in (None, few, many):
            for how in ({}, {"exact": True}):
                found = dropped.search_rows(queries[:40], K, keep=keep, **how)
                np.testing.assert_array_equal(found.scores, np.take_along_axis(by_row, found.rows, axis=1))
                assert keep is None or keep[found.rows].all()
            kept = np.arange(COUNT) if keep is None else np.flatnonzero(keep)
            best = -np.sort(-by_row[:, kept], axis=1)[:, :K]
            exactly = dropped.search_rows(queries[:40], K, exact=True, keep=keep)
            np.testing.assert_array_equal(exactly.scores, best)
            assert keep is not few or (exactly.scored == few.sum()).all()


@pytest.mark.parametrize("dim", [1, 63, 64, 65, 128, 384])
@pytest.mark.parametrize("count", [1, 2, 33, 300])
@pytest.mark.parametrize("profile", PROFILES)
def test_every_unit_restores_scans_and_finds_as_the_scalar_one(dim: int, count: int, profile: Profile) -> None:
    vectors, asked = clustered(count, dim, seed=dim), clustered(9, dim, seed=dim + 1)
    links = np.random.default_rng(1).integers(-1, count, (count, DEGREE)).astype(np.int32)
    k, picked = min(K, count), np.arange(0, count, 2, dtype=np.uint32)
    answers: dict[str, list[bytes]] = {}
    for unit in kernels.units():
        answers[unit] = []
        for l2 in (False, True):
            made = encoded(vectors, links, l2, unit=unit, profile=profile, originals="drop")
            assert made.rests is not None
            graph, rows = made.graph(), np.empty((count, dim), np.float32)
            graph.restore(0, rows)
            parts: list[NDArray[Any]] = [made.blocks, made.rests, rows]
            for at in (None, picked):
                found = _room(9, k)
                graph.scan(asked, *found, at=at, unit=unit)
                parts += found
            shared = _room(9, k)
            graph.scan(asked, *shared, threads=20, unit=unit)
            np.testing.assert_array_equal(shared[0], parts[3])
            walked = _room(9, k)
            graph.search(asked, None, 1.0, 64 + 8 * k, None, *walked, 1, unit)
            answers[unit] += [part.tobytes() for part in (*parts, *walked)]
            answers[unit].append(repr((made.code_norm, made.rest_norm)).encode())
    assert all(answer == answers["scalar"] for answer in answers.values())


def _room(queries: int, k: int) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.int64]]:
    return np.empty((queries, k), np.int64), np.empty((queries, k), np.float32), np.empty(queries, np.int64)


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
@pytest.mark.parametrize("l2", [False, True])
def test_any_scale_and_offset_is_restored_as_well(scale: float, l2: bool) -> None:
    vectors = clustered(200, 30).astype(np.float64) + (50 if l2 else 0)
    rows = (vectors * scale).astype(np.float32)
    made = encoded(rows, np.full((200, DEGREE), -1, np.int32), l2, originals="drop")
    graph, restored, found = made.graph(), np.empty_like(rows), _room(200, 1)
    graph.restore(0, restored)
    centred = rows - rows.mean(axis=0) if l2 else rows
    assert np.abs(restored - rows).max() < 1e-3 * np.abs(centred).max()
    graph.scan(rows, *found)
    if l2:
        np.testing.assert_array_equal(found[0][:, 0], np.arange(200))
        assert (found[1] <= 0).all()


def test_a_graph_is_not_asked_for_what_it_does_not_hold() -> None:
    vectors = clustered(50, 8)
    made = encoded(vectors, np.full((50, DEGREE), -1, np.int32), True)
    graph, room = made.graph(), _room(1, 1)
    with pytest.raises(ValueError, match="searched with its vectors"):
        graph.search(vectors[:1], None, 1.0, 64, None, *room)
    with pytest.raises(ValueError, match="no rows to scan"):
        graph.scan(vectors[:1], *room)
    with pytest.raises(ValueError, match="no rows to restore"):
        graph.restore(0, np.empty((1, 8), np.float32))
    dropped = encoded(vectors, np.full((50, DEGREE), -1, np.int32), True, originals="drop")
    with pytest.raises(ValueError, match="not so many rows"):
        dropped.graph().restore(40, np.empty((11, 8), np.float32))
    with pytest.raises(ValueError, match="a row number is not in vectors"):
        dropped.graph().scan(vectors[:1], *room, at=np.array([50], np.uint32))
    with pytest.raises(ValueError, match="rests are too short"):
        dropped._replace(rests=np.zeros(100, np.uint8)).graph()


def test_damaged_rests_are_survived(both: Root, queries: NDArray[np.float32]) -> None:
    """Hashes refuse them; but who skips the hashes must at worst get wrong rows."""
    with open_generation(both.path("drop")) as dropped:
        intact = layout.load(dropped.path, dropped.manifest)
    assert intact.rests is not None
    random = np.random.default_rng(8)
    for share in (1e-4, 1e-2, 1.0):
        blocks, rests = np.array(intact.blocks), np.array(intact.rests)
        for array in (blocks, rests):
            places = random.integers(0, len(array), max(1, int(share * len(array))))
            array[places] = random.integers(0, 256, len(places))
        damaged = intact._replace(blocks=blocks, rests=rests)
        found = Walk(damaged, None, 1).search(queries[:50], K, 200)
        assert ((found.rows >= -1) & (found.rows < COUNT)).all()
        scanned = _room(50, K)
        damaged.graph().scan(queries[:50], *scanned)
        assert ((scanned[0] >= -1) & (scanned[0] < COUNT)).all()


RESIDENT = """
import sys, numpy as np
from index import open_generation
generation = open_generation(sys.argv[1], verify=False)
queries = np.random.default_rng(0).standard_normal((3000, generation.dim)).astype(np.float32)
queries[: generation.count] = generation.vectors(0, generation.count)[:3000]
generation.search(queries, 10)
generation.search(queries[:10], 10, exact=True)
generation.search(queries[:10], generation.count, exact=True, keep=np.arange(generation.count) % 9 == 0)
for row in range(generation.count):
    generation.external_id(row)
resident, ours = 0, False
for line in open("/proc/self/smaps"):
    fields = line.split()
    if "-" in fields[0] and not fields[0].endswith(":"):
        ours = sys.argv[1] in line
    elif ours and fields[0] == "Rss:":
        resident += int(fields[1]) * 1024
print(resident / generation.count)
"""


def test_all_that_is_resident_is_less_than_a_kilobyte_a_vector_of_384_dimensions(tmp_path: Path) -> None:
    """After searches that have touched every row in every way: blocks, spokes, rests, ids and the root."""
    count, dim = 6000, 384
    how: dict[str, Any] = {"root": tmp_path, "family": "graph", "profile": "compact", "recall_target": 0.5}
    path = build_generation(clustered(count, dim), names(count), name="docs", originals="drop", **how)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", RESIDENT, path], capture_output=True, text=True, check=True
    )
    resident, said = float(done.stdout), read_manifest(path)["memory_bytes"] / count
    assert 850 < resident < 1000
    assert said == pytest.approx(resident, rel=0.06)
    assert (path / "index.faiss").stat().st_size < 300 * count, "FAISS's file holds rows"
    assert not (path / "codes.i8").exists()


def test_the_manifest_says_what_is_lost(both: Root) -> None:
    kept, dropped = (read_manifest(both.path(name)) for name in ("keep", "drop"))
    assert (kept["originals"], dropped["originals"]) == ("keep", "drop")
    assert "loss" not in kept["recall"]
    said = dropped["recall"]
    assert said["loss"] == pytest.approx(said["with_originals"] - said["recall"])
    assert abs(said["loss"]) <= 0.002
    assert said["low"] >= said["target"]
    assert 0 < dropped["memory_bytes"] < kept["memory_bytes"]


def test_a_changed_rest_is_refused_by_name(both: Root, tmp_path: Path) -> None:
    path = both.path("drop")
    copy = Path(shutil.copytree(path, tmp_path / path.name))
    raw = bytearray((copy / "graph.rests").read_bytes())
    raw[1234] ^= 1
    (copy / "graph.rests").write_bytes(raw)
    for check in (open_generation, verify):
        with pytest.raises(GenerationError, match=r"graph\.rests: is damaged"):
            check(copy)
    (copy / "graph.rests").unlink()
    with pytest.raises(GenerationError, match=r"graph\.rests: is missing"):
        open_generation(copy)


@pytest.mark.parametrize("metric", METRICS)
def test_writes_are_found_and_the_next_generation_is_built_from_restored_rows(tmp_path: Path, metric: Metric) -> None:
    documents = Documents(700)
    how: dict[str, Any] = {"family": "graph", "metric": metric, "originals": "drop", "recall_target": 0.5}
    path = documents.build(tmp_path, **how)
    queries = np.stack([vector(seed) for seed in (5, 9_001, 9_002)])
    with Log(tmp_path / "docs", WRITTEN_DIM, None) as log, open_generation(path) as before:
        log.append([documents.put(700, 9_001), documents.put(8, 9_002), documents.delete(5)])
        log.append([documents.put(number, 10_000 + number) for number in range(701, 760)])
        delta = Delta(before, 0)
        delta.apply(changes(tmp_path / "docs", 0))
        view = View(before, delta.snapshot())
        for found in (view.search_rows(queries, 3), view.search_rows(queries, 3, exact=True)):
            ids = [[view.external_id(row) for row in rows] for rows in found.rows.tolist()]
            assert "d5" not in ids[0]
            assert metric == "ip" or (ids[1][0], ids[2][0]) == ("d700", "d8")
        np.testing.assert_array_equal(view.vector(view.row_of("d700") or 0), _as_held(vector(9_001), metric))
    originals = {f"d{number}": _as_held(vector(seed), metric) for number, seed in documents.seeds.items()}
    root = Root(tmp_path)
    with folded_from_served(root, "docs", 1) as (source, kept):
        assert kept["originals"] == "drop"
        with pytest.raises(InputError, match=r"was built without its originals.*from the folder of vectors"):
            build_generation(source, root=tmp_path, name="docs")
    for _ in range(3):  # what is restored and dropped again and again
        with served_rows(root, "docs", 1) as source:
            path = build_generation(source, root=tmp_path, name="docs", **(how | {"threads": 1}))
    with open_generation(path) as after:
        assert (after.originals, after.count) == ("drop", len(documents.seeds))
        assert folded_to(after.manifest).seq == 62
        error = max(np.abs(after.vector(after.row_of(id_) or 0) - row).max() for id_, row in originals.items())
        longest = max(float(np.linalg.norm(row)) for row in originals.values())
        assert error < (1e-3 if metric == "l2" else 5e-4) * longest


def _as_held(row: NDArray[np.float32], metric: Metric) -> NDArray[np.float32]:
    from index.disk.codes import unit_rows

    return unit_rows(row[None])[0] if metric == "cosine" else row


def test_a_walk_that_gives_up_is_followed_by_a_scan_of_the_blocks(both: Root, queries: NDArray[np.float32]) -> None:
    with open_generation(both.path("drop")) as dropped:
        asked, keep = dropped.checked(queries[:5]), np.arange(COUNT) % 3 == 0
        walk: Any = dropped._searcher
        bits, plan = dropped.only(np.flatnonzero(keep)), SearchPlan(trial=1, least_share=1.0, budget=1)
        assert (walk.search(asked, K, dropped.default_effort, bits, plan).rows == -1).all()
        found = find(dropped._rows, walk, asked, K, dropped.default_effort, keep=bits, plan=plan)
        exactly = dropped.search_rows(asked, K, exact=True, keep=bits)
        np.testing.assert_array_equal(found.rows, exactly.rows)
        np.testing.assert_array_equal(found.scores, exactly.scores)


def test_only_a_graph_can_do_without_its_originals(tmp_path: Path) -> None:
    vectors = clustered(300, 8)
    for family in ("flat", "ivf"):
        with pytest.raises(InputError, match=f"{family} scores float32 rows, so it needs the originals"):
            build_generation(vectors, range(300), root=tmp_path, name="docs", family=family, originals="drop")
    with pytest.raises(InputError, match="expected keep, drop"):
        build_generation(vectors, range(300), root=tmp_path, name="docs", originals="forget")
    path = build_generation(vectors, range(300), root=tmp_path, name="docs", originals="drop", recall_target=0.5)
    manifest = read_manifest(path)
    assert (manifest["family"], manifest["originals"]) == ("graph", "drop")
    assert layout.profile_of(manifest) == "compact"
    few = build_generation(vectors[:150], range(150), root=tmp_path, name="few", originals="drop")
    assert (read_manifest(few)["family"], read_manifest(few)["originals"]) == ("flat", "keep")


@pytest.mark.parametrize("builder", ["faiss", "own"])
def test_either_builder_drops_originals_and_grows_from_a_graph_without(tmp_path: Path, builder: str) -> None:
    how: dict[str, Any] = {"root": tmp_path, "name": "docs", "family": "graph", "builder": builder, "threads": 1}
    path = build_generation(clustered(1500, WRITTEN_DIM), names(1500), originals="drop", recall_target=0.8, **how)
    with Log(tmp_path / "docs", WRITTEN_DIM, None) as log:
        log.append([write("new", 7)])
    with open_generation(path) as served:
        source = fold(served, tmp_path / "docs", FoldedTo(0, 0))
        assert source is not None
        grown = build_generation(source, originals="drop", recall_target=0.8, **how)
    manifest = read_manifest(grown)
    assert manifest["build"]["grown_from"]["generation"] == path.name
    with open_generation(grown) as generation:
        row = generation.row_of("new")
        assert row is not None
        assert generation.search_rows(vector(7)[None], 1, exact=True).rows[0, 0] == row


def test_what_was_pushed_comes_back_and_what_is_exported_are_the_restored_rows(tmp_path: Path) -> None:
    vectors, root, store = clustered(400, WRITTEN_DIM), tmp_path / "root", FolderStore(tmp_path / "store")
    path = build_generation(vectors, names(400), root=root, name="docs", originals="drop", recall_target=0.5)
    push(Root(root), "docs", store)
    pull(Root(tmp_path / "back"), "docs", store)
    with open_generation(path) as here, open_generation(Root(tmp_path / "back").path("docs")) as back:
        assert back.originals == "drop"
        ours, theirs = (each.search_rows(vectors[:30], K, exact=True) for each in (here, back))
        np.testing.assert_array_equal(ours.scores, theirs.scores)
        restored = here.vectors(0, 400)
    ran = CliRunner().invoke(export, ["docs", "--root", str(root), "--to", str(tmp_path / "docs.npy")])
    assert ran.exit_code == 0, ran.output
    np.testing.assert_array_equal(np.load(tmp_path / "docs.npy"), restored)
