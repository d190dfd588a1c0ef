"""Lists whose rows stay on the disk: the same answers whoever reads, faults of the disk, and an index like any
other."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from changing import DIM as WRITTEN_DIM
from changing import Documents, vector
from indexing import brute_force, clustered, names
from numpy.typing import NDArray
from once import once

from index import (
    GenerationError,
    InputError,
    KernelError,
    Root,
    StorageError,
    build_generation,
    kernels,
    open_generation,
    verify,
)
from index.backup.pull import pull
from index.backup.push import push
from index.backup.store import FolderStore
from index.changes.delta import Delta
from index.changes.fold import folded_to
from index.changes.log import Log
from index.changes.log_reader import changes
from index.changes.rebuild import served_rows
from index.changes.view import View
from index.disk import lists
from index.disk.lists import PROFILE, RECORDS_FILE
from index.disk.manifest import read_manifest
from index.kernels import _native
from index.printing import print_built
from index.search.disk_lists import READER, DiskLists
from index.search.exact import TopK
from index.search.finding import SearchPlan
from index.search.generation import Generation

COUNT, DIM, K = 3000, 48, 10
METRICS = ("cosine", "ip", "l2")


def vectors() -> NDArray[np.float32]:
    """Some of them equal."""
    rows = clustered(COUNT, DIM)
    rows[100:160] = rows[100]
    return rows


def build_all(root: Path) -> None:
    payload = [{"n": row} for row in range(COUNT)]
    for metric in METRICS:
        how: dict[str, Any] = {"profile": PROFILE, "metric": metric, "threads": 2, "filterable": ["n:int"]}
        build_generation(vectors(), names(COUNT), root=root, name=metric, payload=payload, **how)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Root:
    return Root(once(tmp_path_factory, "disk", build_all))


@pytest.fixture(scope="module")
def queries() -> NDArray[np.float32]:
    return clustered(60, DIM, seed=77)


@pytest.fixture
def unit_in_use() -> Iterator[None]:
    before = _native.active()
    yield
    _native.use(before)


def answers(path: Path, queries: NDArray[np.float32]) -> list[NDArray[Any]]:
    """Of every way to search."""
    few = np.arange(COUNT) % 97 == 5
    found: list[NDArray[Any]] = []
    with open_generation(path, threads=2, verify=False) as generation:
        for how in ({}, {"effort": 2}, {"exact": True}, {"keep": few}, {"keep": ~few}, {"keep": ~few, "exact": True}):
            for k in (1, K, 300):
                found += generation.search_rows(queries, k, **how)
        found.append(np.array(generation.vectors(0, COUNT)))
    return found


@pytest.mark.usefixtures("unit_in_use")
@pytest.mark.parametrize("metric", METRICS)
def test_answers_are_the_same_whoever_reads_and_in_every_unit(
    built: Root, queries: NDArray[np.float32], metric: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected: list[NDArray[Any]] = []
    path = built.path(metric)
    for reader in ("ring", "pool"):
        monkeypatch.setenv(READER, reader)
        try:
            with open_generation(path, verify=False) as generation:
                assert generation._searcher.reader == reader  # type: ignore[union-attr]
        except KernelError:  # a system that gives no io_uring
            assert reader == "ring"
            continue
        for unit in kernels.units():
            assert _native.use(unit)
            found = answers(path, queries)
            for ours, theirs in zip(found, expected or found, strict=True):
                np.testing.assert_array_equal(ours, theirs, err_msg=f"{reader}, {unit}")
            expected = expected or found
    monkeypatch.setenv(READER, "tape")
    with pytest.raises(KernelError, match=r"PERWATT_READER is 'tape': the reader must be auto, ring or pool"):
        open_generation(path, verify=False)


@pytest.mark.parametrize("metric", METRICS)
def test_scores_are_those_of_rows_as_their_records_restore_them(
    built: Root, queries: NDArray[np.float32], metric: str
) -> None:
    with open_generation(built.path(metric)) as generation:
        assert (generation.profile, generation.family, generation.originals) == (PROFILE, "ivf", "drop")
        restored = generation.vectors(0, COUNT)
        ordered = vectors()[[names(COUNT).index(generation.external_id(row)) for row in range(200)]]
        if metric == "cosine":
            ordered = ordered / np.linalg.norm(ordered, axis=1, keepdims=True)
        assert np.abs(restored[:200] - ordered).max() < 1e-3 * np.linalg.norm(ordered, axis=1).max()
        asked = generation.checked(queries)
        _, scores = brute_force(asked, restored, K, "l2" if metric == "l2" else "ip")
        exactly = generation.search_rows(queries, K, exact=True)
        np.testing.assert_allclose(exactly.scores, scores, rtol=2e-4, atol=1e-4)
        by_row = {(q, row): score for q in range(len(queries)) for row, score in _scored(generation, queries[q])}
        found = generation.search_rows(queries, K)
        for q, rows in enumerate(found.rows.tolist()):
            assert [by_row[q, row] for row in rows] == found.scores[q].tolist()
        assert float((found.scores >= exactly.scores[:, -1:]).mean()) > 0.9
        ties = exactly.scores[:, 1:] == exactly.scores[:, :-1]
        assert (exactly.rows[:, 1:] > exactly.rows[:, :-1])[ties].all()


def _scored(generation: Generation, query: NDArray[np.float32]) -> list[tuple[int, float]]:
    every = generation.search_rows(query[None], COUNT, exact=True)
    return list(zip(every.rows[0].tolist(), every.scores[0].tolist(), strict=True))


def test_an_answer_holds_all_that_survive_however_few(built: Root, queries: NDArray[np.float32]) -> None:
    with open_generation(built.path("cosine")) as generation:
        searcher: Any = generation._searcher
        for survivors in range(K + 2):
            rows = np.sort(np.random.default_rng(survivors).choice(COUNT, survivors, replace=False))
            keep = generation.only(rows)
            by_lists = searcher.search(generation.checked(queries[:5]), K, 1, keep)
            for found in (generation.search_rows(queries[:5], K, keep=keep), by_lists):
                reach = min(K, survivors)
                assert (np.sort(found.rows[:, :reach], axis=1) == rows[:reach]).all() or survivors > K
                assert (found.rows[:, reach:] == -1).all()
        asked = generation.checked(queries[:1])
        farthest = generation.search_rows(asked, COUNT, exact=True).rows[0, COUNT // 2 :]
        keep = generation.only(np.sort(farthest))
        for budget, found_some in ((1, False), (0, True)):
            plan = SearchPlan(budget=budget)
            found = searcher.search(asked, K, 1, keep, plan)
            assert (found.rows >= 0).all() == found_some


@pytest.mark.parametrize("reader", ["auto", "pool"])
def test_a_disk_that_fails_is_told_and_the_next_search_goes_on(
    built: Root, queries: NDArray[np.float32], reader: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(READER, reader)
    path = built.path("cosine")
    with open_generation(path, threads=2) as generation:
        expected = generation.search_rows(queries, K)
        handles = [int(each.name) for each in Path("/proc/self/fd").iterdir() if each.resolve() == path / RECORDS_FILE]
        assert len(handles) == 1
        kept = os.dup(handles[0])
        ways = (partial(generation.search, queries, K), partial(generation.search, queries, K, exact=True))
        for file, kind, said in (
            (os.open(tmp_path, os.O_RDONLY), StorageError, r"lists\.records cannot be read: .* Nothing has changed"),
            (os.open(path / "manifest.json", os.O_RDONLY), GenerationError, r"lists\.records: was cut short .* byte"),
        ):
            os.dup2(file, handles[0])
            os.close(file)
            for way in (*ways, partial(generation.vector, COUNT - 1)):
                with pytest.raises(kind, match=said):
                    way()
            os.dup2(kept, handles[0])
            again = generation.search_rows(queries, K)
            np.testing.assert_array_equal(again.rows, expected.rows)
        os.close(kept)


def test_records_that_are_too_short_are_refused_by_name(built: Root, tmp_path: Path) -> None:
    path = built.path("ip")
    copy = tmp_path / path.name
    copy.mkdir()
    for file in path.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    os.truncate(copy / RECORDS_FILE, 65536)
    for way in (verify, open_generation):
        with pytest.raises(GenerationError, match=r"lists\.records: has 65,536 bytes, and the manifest says"):
            way(copy)
    with pytest.raises(GenerationError, match=r"lists\.records: has 65,536 bytes, and its rows need"):
        open_generation(copy, verify=False)


def test_a_forked_process_searches_with_readers_of_its_own(built: Root, queries: NDArray[np.float32]) -> None:
    with open_generation(built.path("cosine")) as generation:
        expected = generation.search_rows(queries, K)
        child = os.fork()
        if child == 0:
            os._exit(0 if np.array_equal(generation.search_rows(queries, K).rows, expected.rows) else 1)
        assert os.waitpid(child, 0)[1] == 0
        np.testing.assert_array_equal(generation.search_rows(queries, K).rows, expected.rows)


def test_what_gc_deletes_goes_from_the_disk_and_searches_that_run_go_on(tmp_path: Path) -> None:
    root, rows = Root(tmp_path), clustered(400, 16)
    build = partial(build_generation, rows, names(400), root=tmp_path, name="docs", profile=PROFILE, recall_target=0.1)
    paths = [build() for _ in range(3)]
    dead = tmp_path / "docs" / ".building-dead"
    dead.mkdir()
    (dead / RECORDS_FILE).write_bytes(bytes(1 << 16))
    with open_generation(paths[0]) as generation:
        before = [generation.search_rows(rows[:20], K, **how) for how in ({}, {"exact": True})]
        assert set(root.gc("docs", keep=1)) == {dead.name, paths[0].name}
        left = {path for path in (tmp_path / "docs").rglob("*") if path.name.startswith("lists.")}
        assert {path.parent for path in left} == set(paths[1:])
        assert len(left) == 2 * 4
        after = [generation.search_rows(rows[:20], K, **how) for how in ({}, {"exact": True})]
        for one, other in zip(before, after, strict=True):
            np.testing.assert_array_equal(one.rows, other.rows)
            np.testing.assert_array_equal(one.scores, other.scores)
    assert not [each for each in Path("/proc/self/fd").iterdir() if str(paths[0]) in str(each.resolve())]


def test_writes_words_folding_and_backups_are_those_of_any_index(tmp_path: Path) -> None:
    documents = Documents(700)
    path = documents.build(tmp_path, profile=PROFILE, recall_target=0.5)
    asked = np.stack([vector(seed) for seed in (5, 9_001, 9_002)])
    with Log(tmp_path / "docs", WRITTEN_DIM, None) as log, open_generation(path) as before:
        log.append([documents.put(700, 9_001), documents.put(8, 9_002), documents.delete(5)])
        delta = Delta(before, 0)
        delta.apply(changes(tmp_path / "docs", 0))
        view = View(before, delta.snapshot())
        for found in (view.search_rows(asked, 3), view.search_rows(asked, 3, exact=True)):
            ids = [[view.external_id(row) for row in rows] for rows in found.rows.tolist()]
            assert "d5" not in ids[0]
            assert (ids[1][0], ids[2][0]) == ("d700", "d8")
    root = Root(tmp_path)
    with served_rows(root, "docs", 1) as source:
        build_generation(source, root=tmp_path, name="docs", profile=PROFILE, recall_target=0.5)
    store = FolderStore(tmp_path / "store")
    push(root, "docs", store)
    pull(Root(tmp_path / "back"), "docs", store)
    with open_generation(Root(tmp_path / "back").path("docs")) as back:
        assert (back.profile, back.count, folded_to(back.manifest).seq) == (PROFILE, len(documents.seeds), 3)
        assert back.search(asked[1:2], 1)[0].tolist() == [["d700"]]


def test_what_is_in_memory_and_what_is_read_is_said(built: Root, capsys: pytest.CaptureFixture[str]) -> None:
    path = built.path("cosine")
    manifest = read_manifest(path)
    records = (path / RECORDS_FILE).stat().st_size
    others = sum(file.stat().st_size for file in path.iterdir()) - records
    assert manifest["memory_bytes"] < others
    print_built(path, manifest)
    printed = capsys.readouterr().out
    assert "\nprofile          disk\n" in printed
    assert f"{_native.record_bytes(DIM)} bytes a vector" in printed


def test_the_manifest_says_what_scoring_by_records_loses(
    built: Root, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for metric in METRICS:
        said = read_manifest(built.path(metric))["recall"]
        assert said["loss"] == pytest.approx(said["with_originals"] - said["recall"])
        assert abs(said["loss"]) <= 0.002
    search = DiskLists.search

    def wrong(self: DiskLists, queries: NDArray[np.float32], k: int, effort: int, *how: Any) -> TopK:
        """As if records had scored the best half of twenty worst."""
        found = search(self, queries, max(k, 2 * K), effort, *how)
        return TopK(*(np.ascontiguousarray(each[:, ::-1][:, :k]) for each in found[:2]), found.scored)

    monkeypatch.setattr(DiskLists, "search", wrong)
    rows = clustered(1000, 16)
    path = build_generation(
        rows, range(1000), root=tmp_path, name="docs", profile=PROFILE, recall_target=0, switch=False
    )
    said = read_manifest(path)["recall"]
    assert said["recall"] < 0.1
    assert said["loss"] > 0.4


def test_dimensions_that_no_lists_have_are_refused_before_there_is_memory_for_them(built: Root) -> None:
    path = built.path("cosine")
    made = lists.load(path, read_manifest(path))
    with pytest.raises(ValueError, match="lists have 1 to 4,096 dimensions"):
        made._replace(dim=1 << 45).open("pool")


def test_what_the_profile_cannot_be_is_refused(tmp_path: Path) -> None:
    rows = clustered(300, 8)
    build = partial(build_generation, root=tmp_path, name="docs", profile=PROFILE, recall_target=0.1)
    for family in ("flat", "graph"):
        with pytest.raises(InputError, match=f"the profile disk is one of lists, not of family {family}"):
            build(rows, range(300), family=family)
    with pytest.raises(InputError, match="150 rows are too few for ivf"):
        build(rows[:150], range(150), family="ivf")
    with pytest.raises(InputError, match="the profile disk has at most 4,096 dimensions"):
        build(np.ones((200, 4097), np.float32), range(200))
    assert read_manifest(build(rows[:150], range(150)))["family"] == "flat"
