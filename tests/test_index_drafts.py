"""Our own builder: near neighbours from small parts, the same bytes from any unit and any number of threads."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from indexing import brute_force, clustered, names, write_vectors_folder
from numpy.typing import NDArray
from walks import encoded, recall_at

from index import InputError, Root, build_generation, kernels, open_generation
from index.build.drafts import hnsw
from index.build.drafts.drafting import SETTINGS
from index.changes.log import Log
from index.changes.log_file import Write
from index.changes.rebuild import folded_from_served
from index.cli import build
from index.disk import codes
from index.disk.layout import BLOCKS_FILE, DEGREE
from index.disk.manifest import MANIFEST_FILE, read_manifest
from index.search import exact
from index.search.untyped import faiss, float_rows

DIM, COUNT = 48, 3000


def drafted(
    vectors: NDArray[np.float32],
    which: NDArray[np.int32] | None = None,
    threads: int = 1,
    unit: str = "",
    degree: int = DEGREE,
    **other: int,
) -> NDArray[np.int32]:
    """From parts so small that they are carved more than once."""
    settings = {"fan": 4, "leaf": 100, "near": 40, "drawn": 8, "strangers": 4} | other
    out, done = np.empty((len(vectors), degree), np.int32), np.zeros(1, np.uint64)
    graph = encoded(vectors, np.full((len(vectors), DEGREE), -1, np.int32), True).graph()
    draft = graph.draft(which, *settings.values(), degree, degree == DEGREE, threads, unit)
    draft.meet(0, len(draft.starts) - 1, threads, done)
    draft.link(threads, out, done)
    return out


def built(root: Path, threads: int = 2, **settings: Any) -> Path:
    made: dict[str, Any] = {"family": "graph", "builder": "own", "lexical": False} | settings
    return build_generation(clustered(COUNT, DIM), names(COUNT), root=root, name="test", threads=threads, **made)


@pytest.mark.parametrize("dim", [1, 65, 384])
@pytest.mark.parametrize("count", [1, 2, 33, 700])
def test_every_unit_and_any_number_of_threads_draft_the_same_links(dim: int, count: int) -> None:
    vectors = clustered(count, dim, seed=dim)
    expected = drafted(vectors, unit="scalar")
    for unit in kernels.units():
        for threads in (1, 3):
            np.testing.assert_array_equal(drafted(vectors, threads=threads, unit=unit), expected)


@pytest.mark.parametrize("unit", kernels.units())
@pytest.mark.parametrize("dim", [128, 255, 256, 384])
def test_twins_meet_whichever_of_them_comes_first(unit: str, dim: int) -> None:
    """In wide vectors a pair is multiplied once, for both; 900 rows are not whole blocks of 32."""
    random = np.random.default_rng(dim)
    singles = random.normal(size=(450, dim)).astype(np.float32)
    places = random.permutation(900)
    vectors = np.concatenate([singles, singles + 0.1 * random.normal(size=singles.shape).astype(np.float32)])[places]
    twin = np.argsort(places)[(places + 450) % 900]
    links = drafted(vectors, unit=unit, leaf=1000)
    np.testing.assert_array_equal(links[:, 0], twin)


def test_every_row_is_reached_and_none_is_linked_to_itself_or_twice() -> None:
    """With three hundred equal rows among them, which no carving takes apart."""
    vectors = clustered(2000, 24)
    vectors[500:800] = vectors[500]
    links = drafted(vectors)
    assert not (links == np.arange(2000)[:, None]).any()
    assert all(len(set(row[row >= 0])) == (row >= 0).sum() for row in links)
    reached, waiting = {0}, [0]
    while waiting:
        new = set(links[waiting.pop()].tolist()) - reached - {-1}
        reached |= new
        waiting.extend(new)
    assert len(reached) > 1990  # from any one row; the root links to many


@pytest.mark.parametrize("count", [3, 40])
def test_parts_as_small_as_there_are_have_no_more_leaders_than_rows(count: int) -> None:
    """A leader of each stretch of them, of which none may be empty."""
    links = drafted(clustered(count, 8), leaf=2, fan=64)
    assert not (links == np.arange(count)[:, None]).any()
    assert (links[:, 0] >= 0).all()


def test_rows_that_are_left_out_are_nobodys_neighbours() -> None:
    vectors = clustered(1500, 24)
    which = np.flatnonzero(np.arange(1500) % 3).astype(np.int32)
    for degree in (DEGREE, 16):
        links = drafted(vectors, which, degree=degree)
        assert (links[::3] == -1).all()
        assert not np.isin(links, np.arange(0, 1500, 3)).any()
        assert (links[which] >= 0).all()


def test_the_nearest_are_among_the_links() -> None:
    vectors = clustered(1500, 24)
    near = brute_force(vectors, vectors, 2, "l2")[0][:, 1]
    assert (drafted(vectors) == near[:, None]).any(axis=1).mean() > 0.97


@pytest.fixture(scope="module", params=["cosine", "ip", "l2", "quick"])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    quick = request.param == "quick"
    how = {"profile": "speed" if request.param == "ip" else "compact", "builder": "quick" if quick else "own"}
    return built(tmp_path_factory.mktemp("drafts"), metric="cosine" if quick else request.param, **how)


def test_searches_find_what_they_should_and_half_the_margin_is_not_enough(made: Path) -> None:
    queries = clustered(300, DIM, seed=5)
    with open_generation(made) as generation:
        build = generation.manifest["build"]
        assert SETTINGS[build["builder"]].items() <= build.items()
        assert generation.manifest["recall"]["low"] >= 0.95
        effort = generation.effort_for(0.95)
        enough, half = (recall_at(generation, queries, 10, margin) for margin in (effort, effort // 2))
        assert enough >= 0.935
        assert half < enough - 0.01
        some = np.arange(COUNT) % 3 == 1
        assert recall_at(generation, queries, 10, effort, keep=some) > 0.9


def test_stock_faiss_opens_the_file_and_finds_as_much_as_in_a_graph_of_its_own(made: Path) -> None:
    queries = clustered(300, DIM, seed=5)
    stored = faiss.read_index(str(made / "index.faiss"))
    assert isinstance(stored, faiss.IndexHNSWFlat)
    assert stored.hnsw.max_level >= 2
    vectors = float_rows(faiss.downcast_index(stored.storage))
    own = faiss.IndexHNSWFlat(DIM, DEGREE // 2, stored.metric_type)
    own.hnsw.efConstruction = 200
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    own.add(vectors)
    faiss.omp_set_num_threads(threads)
    truth = exact.search(queries, vectors, 10, "l2" if stored.metric_type == faiss.METRIC_L2 else "ip").rows
    found = {}
    for name, index in (("stored", stored), ("own", own)):
        index.hnsw.efSearch = 32
        rows = index.search(queries, 10)[1]
        found[name] = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(rows, truth, strict=True)])
    assert found["stored"] >= found["own"] - 0.01, found


def test_a_sixteenth_of_each_level_is_in_the_next() -> None:
    levels = hnsw.levels_of(100_000, np.arange(5))
    assert (levels[:5] == 1).all()
    assert 0.9 < (levels > 1).sum() * 16 / 100_000 < 1.1
    assert levels.max() >= 4


def test_one_thread_builds_the_bytes_of_two(tmp_path: Path) -> None:
    """All files of the graph, and FAISS's too."""
    found = []
    for threads in (1, 2):
        path = built(tmp_path / str(threads), threads, recall_target=0.5)
        files = sorted(each for each in path.iterdir() if each.name.startswith(("graph.", "index.faiss", "codes.")))
        found.append({each.name: hashlib.sha256(each.read_bytes()).hexdigest() for each in files})
    assert BLOCKS_FILE in found[0]
    assert found[0] == found[1]


def test_changes_are_built_onto_it(tmp_path: Path) -> None:
    built(tmp_path)
    vectors = clustered(60, DIM, seed=7)
    with Log(tmp_path / "test", DIM, None) as log:
        log.append([Write(f"new-{row}", vector.tobytes(), b"{}") for row, vector in enumerate(vectors)])
    with folded_from_served(Root(tmp_path), "test", 2) as (source, kept):
        path = build_generation(source, root=tmp_path, name="test", family="graph", threads=1, **kept)
    assert read_manifest(path)["build"]["builder"] == "faiss"  # which lets the graph before grow
    with open_generation(path) as generation:
        found = generation.search(codes.unit_rows(vectors), k=1)[0]
        assert [ids[0] for ids in found] == [f"new-{row}" for row in range(60)]


def test_the_command_has_it_as_an_option_and_shards_take_it_too(tmp_path: Path) -> None:
    folder = write_vectors_folder(tmp_path / "vectors", names(900), clustered(900, 16))
    arguments = [str(folder), "--index", "test", "--root", str(tmp_path), "--family", "graph", "--builder", "quick"]
    done = CliRunner().invoke(build, [*arguments, "--shards", "2", "--no-lexical"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    manifests = [read_manifest(path.parent) for path in sorted(tmp_path.rglob(MANIFEST_FILE))]
    assert [manifest["build"]["builder"] for manifest in manifests] == ["quick", "quick"]


def test_another_builder_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'annoy' is not a builder; expected auto, faiss, own, quick"):
        built(tmp_path, builder="annoy")
