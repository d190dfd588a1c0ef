"""A build from the changes goes on from the graph that is served: same rows, as good a recall, refused when dearer."""

from __future__ import annotations

import functools
import itertools
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
from indexing import clustered, names

from index import Root, build_generation, machine, open_generation
from index.build import families, grown
from index.changes.log import Log
from index.changes.log_file import Write
from index.changes.rebuild import folded_from_served
from index.disk.codes import unit_rows
from index.disk.layout import DEGREE
from index.search.generation import Generation
from index.search.structure import INDEX_FILE

COUNT, DIM = 3000, 32


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A root in which `test` is a graph of this metric; for copying."""

    @functools.cache
    def build(metric: Any) -> Path:
        root = tmp_path_factory.mktemp("built")
        build_generation(
            clustered(COUNT, DIM), names(COUNT), root=root, family="graph", name="test", metric=metric, lexical=False,
            threads=1,
        )  # fmt: skip
        return root

    return build


@pytest.fixture
def first(built: Callable[[str], Path], tmp_path: Path) -> Callable[..., Path]:
    """Puts one into this test's folder; the path of its generation."""

    def copy(metric: str = "cosine") -> Path:
        shutil.copytree(built(metric), tmp_path, dirs_exist_ok=True)
        return Root(tmp_path).path("test")

    return copy


def change(root: Path, puts: int, replaced: int, deleted: int) -> np.ndarray[Any, Any]:
    """New rows, rows with another vector, and rows that are gone; the vectors that were put."""
    vectors = clustered(puts + replaced, DIM, seed=7)
    ids = [*(f"new-{number}" for number in range(puts)), *names(COUNT)[:replaced]]
    with Log(root / "test", DIM, None) as log:
        log.append([Write(id_, vector.tobytes(), b"{}") for id_, vector in zip(ids, vectors, strict=True)])
        log.append([Write(id_, None) for id_ in names(COUNT)[replaced : replaced + deleted]])
    return vectors


def again(root: Path, **settings: Any) -> Path:
    with folded_from_served(Root(root), "test", 2) as (source, kept):
        # On one thread: FAISS links what is added in whatever order its threads come to it.
        return build_generation(source, root=root, name="test", **{"family": "graph", "threads": 1} | kept | settings)


def recall(generation: Generation, queries: Any) -> float:
    found = generation.search_rows(queries, 10).scores
    truth = generation.search_rows(queries, 10, exact=True).scores
    return float((found >= truth[:, -1:]).mean())


@pytest.mark.parametrize("metric", ["cosine", "ip", "l2"])
def test_a_grown_graph_finds_what_one_from_nothing_finds(
    first: Callable[..., Path], tmp_path: Path, metric: str
) -> None:
    first(metric)
    vectors = change(tmp_path, 150, 150, 200)
    served = Root(tmp_path).alias("test").generation
    from_nothing = again(tmp_path, anew=True, switch=False)
    path = again(tmp_path)
    queries = np.concatenate([vectors, clustered(300, DIM, seed=9)])
    if metric == "cosine":
        queries = unit_rows(queries)
    with open_generation(path) as made, open_generation(from_nothing) as scratch:
        assert made.count == scratch.count == COUNT + 150 - 200
        before = {"generation": served, "rows": COUNT - 350, "builder": "faiss" if metric == "ip" else "own"}
        assert made.manifest["build"]["grown_from"] == before
        assert "grown_from" not in scratch.manifest["build"]
        assert recall(made, queries) >= recall(scratch, queries) - 0.005
        assert made.manifest["recall"]["queries"] == scratch.manifest["recall"]["queries"] > 0
        for row in range(0, made.count, 97):
            assert made.external_id(row) == scratch.external_id(row)
        answers = [each.search_rows(queries, 10, exact=True) for each in (made, scratch)]
        assert np.array_equal(answers[0].rows, answers[1].rows)


def lists_of(index: Any) -> list[list[list[int]]]:
    """Of each vertex its lists, level by level, as FAISS reads them; a list with a gap fails."""
    levels, offsets = (faiss.vector_to_array(each).astype(int) for each in (index.hnsw.levels, index.hnsw.offsets))
    links = faiss.rev_swig_ptr(index.hnsw.neighbors.data(), index.hnsw.neighbors.size())
    found = []
    for vertex, count in enumerate(levels.tolist()):
        ends = offsets[vertex] + np.cumsum([0, DEGREE, *[DEGREE // 2] * (count - 1)])
        assert ends[-1] == offsets[vertex + 1]
        lists = [links[a:b] for a, b in itertools.pairwise(ends.tolist())]
        assert all((each[: (each >= 0).sum()] >= 0).all() for each in lists), "FAISS stops at the first gap"
        found.append([each[each >= 0].tolist() for each in lists])
    return found


def test_what_is_left_of_a_graph_keeps_its_links_and_its_levels(first: Callable[..., Path], tmp_path: Path) -> None:
    base = first()
    with open_generation(base) as generation:
        vectors = generation.vectors(0, COUNT).copy()
    rows = np.full(COUNT, -1)
    stays = np.flatnonzero(np.arange(COUNT) % 7 != 3)
    rows[: len(stays)] = stays  # 0 … n − 1 are old rows, the rest are new
    begun = grown.begin(grown.Before("test", base / INDEX_FILE, 100, rows), vectors[rows], np.arange(COUNT))
    assert begun.rows.tolist() == list(range(len(stays)))
    place = {int(old): new for new, old in enumerate(stays)}
    before, after = lists_of(faiss.read_index(str(base / INDEX_FILE))), lists_of(begun.index)
    assert len(after) == len(stays)
    for new, old in enumerate(stays.tolist()):
        assert after[new] == [[place[each] for each in level if each in place] for level in before[old]]
    worn = [new for new, old in enumerate(stays) if len(after[new][0]) < 0.9 * len(before[old][0])]
    assert begun.worn.tolist() == worn
    assert len(worn) > len(stays) // 2
    entry = begun.index.hnsw.entry_point
    assert len(after[entry]) == max(map(len, after)) == begun.index.hnsw.max_level + 1


def test_rows_that_are_added_cost_no_vertex_its_links(first: Callable[..., Path], tmp_path: Path) -> None:
    """FAISS prunes the lists of what it links new rows to: held-out rows, and in a grown graph all that are new."""
    path = first()
    change(tmp_path, 150, 50, 50)
    for each, least in ((path, 0.99), (again(tmp_path), 1 - grown.WORN)):
        lists = lists_of(faiss.read_index(str(each / INDEX_FILE)))
        assert np.mean([len(level0) for level0, *_ in lists]) > least * DEGREE


def test_every_vertex_of_a_grown_graph_is_reached_by_stock_faiss(first: Callable[..., Path], tmp_path: Path) -> None:
    first("l2")
    change(tmp_path, 100, 100, 450)
    path = again(tmp_path)
    index = faiss.read_index(str(path / INDEX_FILE))
    lists_of(index)
    index.hnsw.efSearch = 64
    rows = index.reconstruct_n(0, index.ntotal)
    assert (index.search(rows, 1)[1][:, 0] == np.arange(index.ntotal)).mean() > 0.995


def test_a_chain_of_grown_graphs_keeps_its_recall(first: Callable[..., Path], tmp_path: Path) -> None:
    first()
    for turn in range(5):
        vectors = clustered(250, DIM, seed=20 + turn)
        with Log(tmp_path / "test", DIM, None) as log:
            log.append([Write(f"t{turn}-{n}", vector.tobytes(), b"{}") for n, vector in enumerate(vectors)])
            log.append([Write(id_, None) for id_ in names(COUNT)[turn * 250 : turn * 250 + 250]])
        from_nothing = again(tmp_path, anew=True, switch=False) if turn == 4 else None
        path = again(tmp_path)
    assert from_nothing is not None
    with open_generation(path) as made, open_generation(from_nothing) as scratch:
        assert made.manifest["build"]["grown_from"]["rows"] == COUNT - 250
        queries = unit_rows(clustered(600, DIM, seed=99))
        assert recall(made, queries) >= recall(scratch, queries) - 0.01


@pytest.mark.parametrize(
    ("settings", "puts"),
    [({"metric": "l2"}, 10), ({"family": "flat"}, 10), ({}, COUNT // 2), ({"anew": True}, 10)],
    ids=["another metric", "another family", "much has changed", "asked for"],
)
def test_a_graph_is_built_from_nothing_where_none_fits(
    first: Callable[..., Path], tmp_path: Path, settings: dict[str, Any], puts: int
) -> None:
    first()
    change(tmp_path, puts, 0, 0)
    with open_generation(again(tmp_path, recall_target=0.5, **settings)) as made:
        assert "grown_from" not in made.manifest["build"]


def test_a_grown_graph_that_is_dearer_to_search_is_not_kept(
    first: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    first()
    change(tmp_path, 50, 0, 0)
    monkeypatch.setattr(grown, "DEARER", 0.0)
    monkeypatch.setattr("index.build.structure.DEARER", 0.0)
    with open_generation(again(tmp_path, progress=True)) as made:
        assert "grown_from" not in made.manifest["build"]
        assert made.manifest["recall"]["low"] >= 0.95
    assert "building one from nothing" in capfd.readouterr().err


def test_a_graph_is_built_from_nothing_where_memory_is_short_of_two_copies_of_the_rows(
    first: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    first()
    change(tmp_path, 50, 0, 0)
    enough = families.grown_bytes(COUNT + 50, DIM)
    assert families.graph_bytes(COUNT + 50, DIM, "speed", "own") < enough
    monkeypatch.setattr(machine, "memory_limit_bytes", lambda: enough - 1)
    with open_generation(again(tmp_path, progress=True, switch=False)) as made:
        assert "grown_from" not in made.manifest["build"]
    assert "may be used: building one from nothing" in capfd.readouterr().err
    monkeypatch.setattr(machine, "memory_limit_bytes", lambda: enough)
    with open_generation(again(tmp_path)) as made:
        assert made.manifest["build"]["grown_from"]["rows"] == COUNT
