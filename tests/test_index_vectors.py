"""A folder of vectors is read as it was written, or not at all."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from indexing import clustered, names, write_vectors_folder

from index import GenerationError, InputError, Root, VectorsFolder, build_generation

DIM = 12


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_vectors_folder(
        tmp_path / "vectors", names(9000), clustered(9000, DIM), [{"n": row} for row in range(9000)], fragments=2
    )


def rewrite(folder: Path, **changes: Any) -> None:
    file = folder / "embed.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def replace_fragment(folder: Path, table: pa.Table) -> None:
    """Puts another table into the first fragment, with a hash that fits."""
    meta = json.loads((folder / "embed.json").read_text())
    entry = meta["fragments"][0]
    pq.write_table(table, folder / entry["file"])
    raw = (folder / entry["file"]).read_bytes()
    entry |= {"bytes": len(raw), "sha256": hashlib.sha256(raw).hexdigest()}
    (folder / "embed.json").write_text(json.dumps(meta))


def test_rows_come_in_order_and_in_bounded_batches(folder: Path) -> None:
    source = VectorsFolder(folder)
    source.check(2)
    batches = list(source.batches())
    assert max(len(batch.ids) for batch in batches) <= 4096
    assert [id_ for batch in batches for id_ in batch.ids] == names(9000)
    np.testing.assert_array_equal(np.concatenate([batch.vectors for batch in batches]), clustered(9000, DIM))
    assert [json.loads(raw)["n"] for batch in batches for raw in batch.payload or []] == list(range(9000))
    assert (source.count, source.dim, source.canaries[0]["text"]) == (9000, DIM, "canary")


def test_other_files_of_the_folder_are_not_looked_at(folder: Path) -> None:
    (folder / "part-99999-ffffffffffffffff.parquet").write_bytes(b"the rest of a run that was killed")
    VectorsFolder(folder).check(1)
    assert sum(len(batch.ids) for batch in VectorsFolder(folder).batches()) == 9000


@pytest.mark.parametrize("damage", ["flip", "truncate", "empty", "missing"])
def test_a_damaged_fragment_is_named_before_anything_is_built(folder: Path, tmp_path: Path, damage: str) -> None:
    file = sorted(folder.glob("*.parquet"))[1]
    raw = bytearray(file.read_bytes())
    if damage == "flip":
        raw[len(raw) // 2] ^= 1
    if damage == "missing":
        file.unlink()
    else:
        file.write_bytes({"flip": raw, "truncate": raw[:-10], "empty": b""}[damage])
    with pytest.raises(GenerationError, match=file.name):
        build_generation(VectorsFolder(folder), root=tmp_path / "root", name="test")
    assert Root(tmp_path / "root").names() == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 2}, "has format 2, expected 1"),
        ({"count": 8999}, "says 8,999 rows, and its fragments 9,000"),
        ({"dim": "many"}, "lacks or garbles a field"),
        ({"fragments": [{"file": "../part.parquet", "rows": 9000, "bytes": 1, "sha256": ""}]}, "outside the folder"),
        ({"fragments": None}, "lacks or garbles a field"),
    ],
)
def test_an_embed_json_that_does_not_fit_is_refused(folder: Path, changes: dict[str, Any], message: str) -> None:
    rewrite(folder, **changes)
    with pytest.raises(GenerationError, match=message):
        VectorsFolder(folder)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff"])
def test_an_embed_json_that_is_no_object_is_refused(folder: Path, content: bytes) -> None:
    (folder / "embed.json").write_bytes(content)
    with pytest.raises(GenerationError, match=r"embed\.json"):
        VectorsFolder(folder)


def test_a_folder_without_embed_json_is_not_finished(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has no embed\.json"):
        VectorsFolder(tmp_path)


def table_of(count: int, **columns: Any) -> pa.Table:
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(clustered(count, DIM).ravel()), DIM)
    whole = {
        "id": pa.array([f"new-{row}" for row in range(count)]),
        "vector": vectors,
        "payload": pa.array([b"{}"] * count, pa.binary()),
    }
    return pa.table({name: column for name, column in (whole | columns).items() if column is not None})


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            {"vector": pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(4500 * 5, "f4")), 5)},
            r"column 'vector' of type",
        ),
        ({"vector": pa.array([[0.5] * DIM] * 4500)}, "column 'vector' of type list"),
        ({"id": pa.array(range(4500))}, "column 'id' of type int64, expected string"),
        ({"payload": None}, "column 'payload' of type None"),
        ({"id": pa.array(["a", None] * 2250)}, "has rows without 'id'"),
    ],
)
def test_a_fragment_with_other_columns_is_refused(folder: Path, columns: dict[str, Any], message: str) -> None:
    replace_fragment(folder, table_of(4500, **columns))
    with pytest.raises(GenerationError, match=message):
        list(VectorsFolder(folder).batches())


def test_a_fragment_with_another_number_of_rows_is_refused(folder: Path) -> None:
    replace_fragment(folder, table_of(4000))
    with pytest.raises(GenerationError, match=r"has 4000 rows, and embed\.json says 4500"):
        list(VectorsFolder(folder).batches())


def test_a_file_that_hashes_right_but_is_no_parquet_is_refused(folder: Path) -> None:
    meta = json.loads((folder / "embed.json").read_text())
    entry = meta["fragments"][0]
    (folder / entry["file"]).write_bytes(b"PAR1 nonsense PAR1")
    entry |= {"bytes": 18, "sha256": hashlib.sha256(b"PAR1 nonsense PAR1").hexdigest()}
    (folder / "embed.json").write_text(json.dumps(meta))
    with pytest.raises(GenerationError, match="cannot be read as Parquet"):
        list(VectorsFolder(folder).batches())


def test_an_id_in_two_fragments_is_refused(tmp_path: Path) -> None:
    ids = names(100)
    ids[70] = ids[3]
    folder = write_vectors_folder(tmp_path / "vectors", ids, clustered(100, DIM), fragments=2)
    with pytest.raises(InputError, match=f"rows 3 and 70 have the same id '{ids[3]}'"):
        build_generation(VectorsFolder(folder), root=tmp_path, name="test")
