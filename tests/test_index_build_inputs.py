"""What cannot be indexed is refused by row and id: vectors, ids and settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from indexing import clustered, names, write_vectors_folder
from small_builds import DIM, built

from index import InputError, VectorsFolder, build_generation, open_generation
from index.errors import StorageError


class Unread(VectorsFolder):
    """A folder that fails when its rows are asked for."""

    def batches(self, *_: Any, **__: Any) -> Any:
        raise AssertionError("rows were read")


@pytest.mark.parametrize(
    ("asked", "error", "message"),
    [
        ({"profile": "disk", "family": "graph"}, InputError, "not of family graph"),
        ({"originals": "drop", "family": "ivf"}, InputError, "originals"),
        ({"profile": "fast"}, InputError, "'fast' is not a profile"),
        ({"parts": "file/parts"}, StorageError, "file/parts cannot be written: Not a directory"),
    ],
)
def test_what_cannot_be_built_is_refused_before_any_row_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: dict[str, str], error: type[Exception], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    folder = write_vectors_folder(tmp_path / "vectors", names(600), clustered(600, DIM))
    with pytest.raises(error, match=message):
        build_generation(Unread(folder), root=tmp_path / "indexes", name="test", **asked)  # type: ignore[arg-type]


@pytest.mark.parametrize("row", [0, 4095, 4096, 4999])
@pytest.mark.parametrize(("value", "what"), [(np.nan, "not finite"), (np.inf, "not finite"), (0.0, "zero")])
def test_a_vector_that_cannot_be_indexed_is_named(tmp_path: Path, row: int, value: float, what: str) -> None:
    vectors, ids = clustered(5000, DIM), names(5000)
    vectors[row] = value
    with pytest.raises(InputError, match=rf"row {row} \(id '{ids[row]}'\) is {what}"):
        build_generation(vectors, ids, root=tmp_path, name="test")
    assert list(tmp_path.iterdir()) == []


def test_zero_vectors_are_welcome_where_they_have_a_distance(tmp_path: Path) -> None:
    vectors = clustered(300, DIM)
    vectors[5] = 0
    for metric in ("ip", "l2"):
        path = build_generation(vectors, names(300), root=tmp_path, name="test", metric=metric)
        with open_generation(path) as generation:
            assert generation.count == 300
            if metric == "l2":
                found, scores = generation.search(np.zeros((1, DIM), np.float32), 1)
                assert (found[0, 0], scores[0, 0]) == (names(300)[5], 0.0)


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (["a", "b", "a"], "rows 0 and 2 have the same id 'a'"),
        ([1, 2, 1], "rows 0 and 2 have the same id 1"),
        (["1", 1, "2"], r"id of row 1 is 1 \(int\)"),
        (["a", "b", None], r"id of row 2 is None \(NoneType\)"),
        ([1.0, 2.0, 3.0], "expected all ids to be str or all int"),
        ([True, False, True], "expected all ids to be str or all int"),
        ([1, 2, 2**63], "integers must fit 64 bits"),
        (["a", "", "b"], "id of row 1 has 0 bytes"),
        (["a", "x" * 1025, "b"], "id of row 1 has 1025 bytes"),
        (["a", "\ud800", "b"], "not valid Unicode"),
        (["a", "b"], "there are 2 ids for 3 vectors"),
    ],
)
def test_ids_that_do_not_identify_are_refused(tmp_path: Path, ids: list[Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        build_generation(clustered(3, DIM), ids, root=tmp_path, name="test")


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        (np.zeros((3, 4)), "vectors are float64, expected float32"),
        (np.zeros((3, 4), np.float16), "vectors are float16"),
        (np.zeros(3, np.float32), r"vectors are \(3,\); expected a float32 array"),
        (np.zeros((3, 0), np.float32), "vectors have 0 dimensions"),
        ([[1.0, 2.0]] * 3, "vectors are list"),
    ],
)
def test_vectors_of_another_kind_are_refused(tmp_path: Path, vectors: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        build_generation(vectors, ["a", "b", "c"], root=tmp_path, name="test")


def test_an_empty_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no vectors to build an index from"):
        build_generation(np.zeros((0, DIM), np.float32), [], root=tmp_path, name="test")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "Test"}, "'Test' is not an index name"),
        ({"name": "../x"}, "is not an index name"),
        ({"name": "a" * 64}, "is not an index name"),
        ({"family": "hnsw"}, "'hnsw' is not a family; expected auto, flat, graph, ivf"),
        ({"metric": "dot"}, "'dot' is not a metric; expected cosine, ip, l2"),
        ({"originals": "burn"}, "'burn' is not what can become of originals; expected keep, drop"),
        ({"recall_target": 95}, "recall_target is 95; expected 0 to 1"),
        ({"min_count_ratio": -1}, "min_count_ratio is -1"),
        ({"filterable": ["year:"]}, "'year:' does not declare a filterable field"),
        ({"filterable": ["year"]}, "no row has a field 'year'"),
        ({"family": "graph"}, "100 rows are too few for graph"),
        ({"payload": [{}]}, "there are 1 payload rows for 100 vectors"),
        ({"payload": ["[1]"] * 100}, r"payload of row 0 \(id 'doc-0'\) is not a JSON object"),
        ({"payload": ['{"a": 1'] * 100}, "is not a JSON object"),
        ({"payload": [b'{"a": "\xff"}'] * 100}, "is not a JSON object"),
    ],
)
def test_settings_that_make_no_index_are_refused(tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        built(tmp_path, 100, **settings)
    assert not list(tmp_path.glob("**/.building-*"))
