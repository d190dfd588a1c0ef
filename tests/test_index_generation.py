"""A generation that is not what was written is refused with the file's name; one that is answers every sane query."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from indexing import clustered, names
from numpy.typing import NDArray

from index import GenerationError, InputError, Root, build_generation, open_generation, verify
from index.disk.manifest import read_manifest
from index.disk.sealed import write_sealed

DIM, COUNT = 16, 600


@pytest.fixture(scope="module", params=["flat", "graph", "ivf", "dropped", "disk"])
def original(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_generation(
        clustered(COUNT, DIM),
        names(COUNT),
        root=tmp_path_factory.mktemp(request.param),
        name="test",
        family={"dropped": "graph", "disk": "auto"}.get(request.param, request.param),
        profile="disk" if request.param == "disk" else "auto",
        originals="drop" if request.param == "dropped" else "keep",
        metric="l2" if request.param == "flat" else "cosine",
        recall_target=0.9,
        payload=[{"n": row} for row in range(COUNT)],
        filterable=["n:int"],
    )


@pytest.fixture
def copy(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / original.name))


def test_a_generation_is_made_of_these_files(original: Path) -> None:
    family, originals = (read_manifest(original)[key] for key in ("family", "originals"))
    files = {
        "manifest.json",
        "index.faiss",
        "codes.i8",
        "ids.arrow",
        "payload.arrow",
        "columns.arrow",
        "postings.arrow",
    }
    files |= {"flat": {"norms.f32"}, "graph": {"graph.blocks", "graph.root", "graph.spokes"}, "ivf": {"vectors.f32"}}[
        family
    ]
    if originals == "drop":
        files = files - {"codes.i8"} | {"graph.rests"}
    if family == "ivf" and originals == "drop":
        on_disk = {"lists.groups", "lists.starts", "lists.centres", "lists.records"}
        files = files - {"graph.rests", "index.faiss", "vectors.f32"} | on_disk
    assert {entry.name for entry in original.iterdir()} == files
    for section in read_manifest(original)["sections"]:
        assert (original / section).stat().st_size % 65536 == 0


def test_any_flipped_bit_is_refused_with_the_files_name(copy: Path) -> None:
    random = np.random.default_rng(5)
    for file in sorted(copy.iterdir()):
        raw = file.read_bytes()
        places = {0, len(raw) - 1, *random.integers(0, len(raw), 12).tolist()}
        for place in places:
            damaged = bytearray(raw)
            damaged[place] ^= 1 << int(random.integers(0, 8))
            file.write_bytes(damaged)
            with pytest.raises(GenerationError, match=file.name) as info:
                open_generation(copy)
            assert info.value.file == file
            with pytest.raises(GenerationError, match=file.name):
                verify(copy)
        file.write_bytes(raw)
    open_generation(copy).close()


def test_the_manifest_guards_itself(copy: Path) -> None:
    """Spaces, line ends and the hash included: a bit of every seventh byte."""
    file = copy / "manifest.json"
    raw = file.read_bytes()
    for place in range(0, len(raw), 7):
        damaged = bytearray(raw)
        damaged[place] ^= 1 << place % 8
        file.write_bytes(damaged)
        with pytest.raises(GenerationError, match=r"manifest\.json"):
            read_manifest(copy)


def test_truncated_missing_empty_extra_and_exchanged_files_are_refused(copy: Path) -> None:
    for file in sorted(copy.iterdir()):
        raw = file.read_bytes()
        for damaged in (raw[:-1], raw[: len(raw) // 2], b"", raw + b"\0"):
            file.write_bytes(damaged)
            with pytest.raises(GenerationError, match=file.name):
                open_generation(copy)
        file.unlink()
        with pytest.raises(GenerationError, match=file.name):
            open_generation(copy)
        file.mkdir()
        with pytest.raises(GenerationError, match=file.name):
            open_generation(copy)
        file.rmdir()
        file.symlink_to(copy.parent / "elsewhere")
        (copy.parent / "elsewhere").write_bytes(raw)
        if file.name != "manifest.json":
            with pytest.raises(GenerationError, match=f"{file.name}: is not a regular file"):
                open_generation(copy)
        file.unlink()
        file.write_bytes(raw)
    (copy / "notes.txt").write_text("extra")
    with pytest.raises(GenerationError, match=r"notes\.txt: is not in the manifest"):
        open_generation(copy)
    (copy / "notes.txt").unlink()
    one, other = copy / "ids.arrow", copy / "payload.arrow"
    contents = one.read_bytes(), other.read_bytes()
    one.write_bytes(contents[1])
    other.write_bytes(contents[0])
    with pytest.raises(GenerationError, match=r"(ids|payload)\.arrow"):
        open_generation(copy)


def test_a_folder_under_another_name_is_refused(copy: Path) -> None:
    renamed = copy.rename(copy.with_name("test-20200101T000000Z-0000"))
    with pytest.raises(GenerationError, match="is that of generation"):
        open_generation(renamed)
    with pytest.raises(GenerationError, match="is not there"):
        open_generation(copy)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 2}, "has format 2 and this version reads 1"),
        ({"count": "600"}, "lacks a usable 'count'"),
        ({"sections": {}}, "does not fit its files"),
        ({"dim": 17}, r"(index\.faiss|graph\.rests|lists\.records): holds 600 × 16, not 600 × 17"),
    ],
)
def test_a_manifest_with_a_valid_seal_and_wrong_content_is_refused(
    copy: Path, change: dict[str, Any], message: str
) -> None:
    write_sealed(copy / "manifest.json", read_manifest(copy) | change)
    with pytest.raises(GenerationError, match=message):
        open_generation(copy)


def test_a_faiss_file_that_hashes_right_but_is_none_is_an_error_too(copy: Path) -> None:
    from index.disk.files import digest

    file = copy / "index.faiss"
    if not file.exists():  # of lists on the disk there is none
        return
    file.write_bytes(file.read_bytes()[:100])
    manifest = read_manifest(copy)
    size, sha256 = digest(file)
    manifest["files"]["index.faiss"] = {"bytes": size, "sha256": sha256}
    write_sealed(copy / "manifest.json", manifest)
    if manifest["originals"] == "drop":  # a search needs nothing of it
        open_generation(copy).close()
        return
    with pytest.raises(GenerationError, match=r"index\.faiss: is not an index that FAISS can read"):
        open_generation(copy)


@pytest.mark.parametrize(
    ("queries", "k", "settings", "message"),
    [
        (np.zeros((1, DIM)), 1, {}, "queries are float64"),
        (np.zeros((1, DIM + 1), np.float32), 1, {}, rf"expects float32 \(q, {DIM}\)"),
        (np.ones(DIM, np.float32), 1, {}, "queries are float32"),
        (np.ones((1, DIM), np.float32), 0, {}, "k is 0; expected at least 1"),
        (np.ones((1, DIM), np.float32), -3, {}, "k is -3"),
        (np.ones((1, DIM), np.float32), 1, {"effort": 0}, "effort is 0"),
        (np.full((1, DIM), np.nan, np.float32), 1, {}, "query 0 is not finite"),
        (np.full((1, DIM), np.inf, np.float32), 1, {"exact": True}, "query 0 is not finite"),
    ],
)
def test_queries_that_cannot_be_answered_are_refused(
    original: Path, queries: NDArray[np.float32], k: int, settings: dict[str, Any], message: str
) -> None:
    with open_generation(original) as generation, pytest.raises(InputError, match=message):
        generation.search(queries, k, **settings)


def test_a_zero_query_has_no_cosine(original: Path) -> None:
    queries = clustered(3, DIM)
    queries[2] = 0
    with open_generation(original) as generation:
        if generation.metric == "cosine":
            with pytest.raises(InputError, match="query 2 is zero"):
                generation.search(queries, 1)
        else:
            generation.search(queries, 1)


@pytest.mark.parametrize("exact", [False, True])
def test_k_beyond_the_count_is_padded(original: Path, exact: bool) -> None:
    with open_generation(original) as generation:
        effort = 10**6
        found, scores = generation.search(clustered(3, DIM, seed=1), COUNT + 7, effort, exact)
        rows, row_scores, scored = generation.search_rows(clustered(3, DIM, seed=1), COUNT + 7, effort, exact)
    assert found.shape == scores.shape == rows.shape == (3, COUNT + 7)
    assert all(id_ is None for id_ in found[:, COUNT:].ravel())
    assert (rows[:, COUNT:] == -1).all()
    assert np.isneginf(row_scores[:, COUNT:]).all()
    assert (scored > 0).all()
    if exact:
        assert (np.sort(rows[:, :COUNT], axis=1) == np.arange(COUNT)).all()


def test_ties_are_broken_by_id(tmp_path: Path) -> None:
    vectors = np.repeat(clustered(60, DIM), 10, axis=0)
    for family in ("flat", "graph", "ivf"):
        path = build_generation(vectors, names(600), root=tmp_path, name=family, family=family, recall_target=0.5)
        with open_generation(path) as generation:
            found, scores = generation.search(vectors[::50], 10, effort=600)
            for ids, row in zip(found, scores, strict=True):
                assert len(set(row.tolist())) == 1
                assert ids.tolist() == sorted(ids)
            exactly, _ = generation.search(vectors[::50], 10, exact=True)
            np.testing.assert_array_equal(exactly[:, 0] <= found[:, 0], True)


def test_no_queries_are_answered_with_nothing(original: Path) -> None:
    with open_generation(original) as generation:
        for exact in (False, True):
            found, scores = generation.search(np.zeros((0, DIM), np.float32), 5, exact=exact)
            assert found.shape == scores.shape == (0, 5)


def test_scored_counts_what_was_compared(original: Path) -> None:
    with open_generation(original) as generation:
        queries = clustered(20, DIM, seed=3)
        assert (generation.search_rows(queries, 5, exact=True).scored == COUNT).all()
        little, much = (generation.search_rows(queries, 5, effort).scored.mean() for effort in (1, 200))
        if generation.family == "flat":
            assert little == much == COUNT
        else:
            assert 0 < little < much


def test_threads_of_one_process_search_at_once(original: Path) -> None:
    queries = clustered(200, DIM, seed=9)
    with open_generation(original) as generation:
        expected = generation.search_rows(queries, 10).rows
        wrong: list[int] = []

        def search(start: int) -> None:
            for query in range(start, 200, 8):
                if not np.array_equal(generation.search_rows(queries[query : query + 1], 10).rows[0], expected[query]):
                    wrong.append(query)

        threads = [threading.Thread(target=search, args=(start,)) for start in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []


RESIDENT = """
import sys, numpy as np
from index import open_generation
def private():
    fields = dict(line.split(":", 1) for line in open("/proc/self/smaps_rollup") if ":" in line)
    return int(fields["Anonymous"].split()[0]) * 1024
open_generation(sys.argv[1]).close()
before = private()
generation = open_generation(sys.argv[1])
generation.search(np.ones((1, generation.dim), np.float32), 10, exact=True)
generation.search(np.ones((1, generation.dim), np.float32), 10)
print(private() - before)
"""


@pytest.mark.parametrize("family", ["flat", "graph"])
def test_opening_maps_and_does_not_copy(tmp_path: Path, family: str) -> None:
    """The second opening of a generation must not cost memory of its own in proportion to its vectors."""
    dim, count = 512, 8000
    how: dict[str, Any] = {} if family == "flat" else {"recall_target": 0.5, "builder": "own"}
    path = build_generation(clustered(count, dim), range(count), root=tmp_path, name="test", family=family, **how)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", RESIDENT, path], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 0.25 * count * dim * 4


WITHOUT = """
import sys
for name in ("tokenizers", "safetensors", "torch", "transformers"):
    sys.modules[name] = None  # an import of it fails as if it were not there
from index import open_generation
with open_generation(sys.argv[1]) as generation:
    print(generation.search(generation.vectors(0, 1), 1)[0][0, 0])
"""


def test_a_generation_without_sparse_weights_needs_no_library_of_models(tmp_path: Path) -> None:
    path = build_generation(clustered(300, DIM), names(300), root=tmp_path, name="test")
    done = subprocess.run([sys.executable, "-c", WITHOUT, path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "doc-0\n"), done.stderr


def test_a_generation_stays_readable_after_gc_deleted_it(tmp_path: Path) -> None:
    root = Root(tmp_path)
    paths = [build_generation(clustered(300, DIM), names(300), root=tmp_path, name="test") for _ in range(3)]
    with open_generation(paths[0]) as generation:
        before = generation.search(clustered(5, DIM), 3)
        assert root.gc("test", keep=0) == [paths[0].name]
        assert not paths[0].exists()
        after = generation.search(clustered(5, DIM), 3)
        np.testing.assert_array_equal(before[0], after[0])
        assert json.loads(generation.payload(0)) == {}
