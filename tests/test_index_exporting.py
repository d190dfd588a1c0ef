"""An index as files: the rows that a search finds now, read by pyarrow and numpy alone, and moved in again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from deploy.command import perwatt
from index import build_generation, open_generation
from index.build.sharded import build_sharded
from index.changes.log import Log
from index.changes.log_file import Write
from index.disk.root import Root
from index.disk.vectors_folder import VectorsFolder

ROWS, DIM = 9, 4
PAYLOAD: list[dict[str, Any]] = [
    {"text": f"Text {row}.", "title": f"T{row}", "year": 2000 + row, "lang": "en", "tags": ["a", "b"], "share": row / 2,
     "odd": row % 2 == 1, "when": "2026-11-29", "deep": {"x": [row]}, "id": f"own{row}"}
    for row in range(ROWS)
]  # fmt: skip
FIELDS = ["year:int", "lang:keyword", "tags:keyword[]", "share:float", "odd:bool", "when:date"]
VECTORS = np.random.default_rng(2).standard_normal((ROWS, DIM)).astype(np.float32)
IDS = [f"d{row}" for row in range(ROWS)]


def ran(*words: object, code: int = 0) -> Result:
    done = CliRunner().invoke(perwatt, [str(word) for word in words])
    assert done.exit_code == code, (done.output, done.exception)
    return done


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`docs` with a document put, one replaced and one deleted since it was built; `whole` without changes."""
    folder = tmp_path_factory.mktemp("indexes")
    for name in ("docs", "whole"):
        build_generation(VECTORS, IDS, root=folder, name=name, metric="l2", payload=PAYLOAD, filterable=FIELDS)
    with Log(folder / "docs", DIM, None) as log:
        new = b'{"text":"New.","year":null,"lang":"de","tags":[],"share":1,"odd":false,"when":"2027-01-01"}'
        changed = json.dumps({**PAYLOAD[2], "year": 1999}).encode()
        log.append([
            Write("new", np.ones(DIM, "<f4").tobytes(), new), Write("d2", VECTORS[3].tobytes(), changed),
            Write("d5", None),
        ])  # fmt: skip
    return folder


def test_parquet_has_a_typed_column_for_every_filterable_field_and_what_was_written_since(
    root: Path, tmp_path: Path
) -> None:
    out = tmp_path / "docs.parquet"
    assert "9 documents of docs are in" in ran("export", "docs", "--root", root, "--to", out).stderr
    table = pq.read_table(out)
    assert {field.name: field.type for field in table.schema} == {
        "id": pa.string(), "title": pa.string(), "text": pa.string(), "year": pa.int64(), "lang": pa.string(),
        "tags": pa.list_(pa.string()), "share": pa.float64(), "odd": pa.bool_(), "when": pa.string(),
        "metadata": pa.string(), "vector": pa.list_(pa.float32(), DIM),
    }  # fmt: skip
    rows = {row["id"]: row for row in table.to_pylist()}
    assert rows.keys() == {*IDS, "new"} - {"d5"}
    assert rows["d4"]["vector"] == VECTORS[4].tolist()
    assert rows["d2"]["vector"] == VECTORS[3].tolist()
    assert (rows["d2"]["year"], rows["new"]["year"], rows["new"]["share"], rows["new"]["lang"]) == (
        1999,
        None,
        1.0,
        "de",
    )
    assert json.loads(rows["d4"]["metadata"]) == {"deep": {"x": [4]}, "id": "own4"}
    assert rows["new"]["metadata"] is None
    assert not list(tmp_path.glob(".tmp-*"))


def test_npy_and_its_records_go_line_by_line(root: Path, tmp_path: Path) -> None:
    ran("export", "docs", "--root", root, "--to", tmp_path / "docs.npy")
    vectors = np.load(tmp_path / "docs.npy")
    lines = [json.loads(line) for line in (tmp_path / "docs.jsonl").read_text().splitlines()]
    assert (vectors.dtype, vectors.shape, len(lines)) == (np.dtype("<f4"), (9, DIM), 9)
    for vector, line in zip(vectors, lines, strict=True):
        if line["id"] == "d4":
            assert vector.tolist() == VECTORS[4].tolist()
            assert line == {**{k: v for k, v in PAYLOAD[4].items() if k != "id"}, "id": "d4", "metadata_id": "own4"}
    assert {line["id"] for line in lines} == {*IDS, "new"} - {"d5"}


@pytest.mark.parametrize("name", ["docs.parquet", "docs.npy"])
def test_what_was_moved_out_moves_in_again(root: Path, tmp_path: Path, name: str) -> None:
    ran("export", "whole", "--root", root, "--to", tmp_path / name)
    out, kind = tmp_path / "vectors", name.partition(".")[2]
    more = ("--records", tmp_path / "docs.jsonl") if kind == "npy" else ()
    ran("import", f"{kind}:{tmp_path / name}", "--into", out, "--metric", "l2", *more)
    ran("build", out, "--index", "again", "--root", tmp_path)
    with open_generation(Root(root).path("whole")) as before, open_generation(Root(tmp_path).path("again")) as after:
        for id_ in IDS:
            rows = before.row_of(id_), after.row_of(id_)
            assert rows[0] is not None
            assert rows[1] is not None
            assert before.vector(rows[0]).tobytes() == after.vector(rows[1]).tobytes()
            was, is_ = json.loads(before.payload(rows[0])), json.loads(after.payload(rows[1]))
            assert is_ == {**{key: value for key, value in was.items() if key != "id"}, "metadata_id": was["id"]}
        wanted = {**before.manifest["filterable"], "metadata_id": "keyword", "title": "keyword"}
        assert after.manifest["filterable"] == wanted
        assert after.manifest["metric"] == "l2"


def test_every_shard_is_moved_out(root: Path, tmp_path: Path) -> None:
    ran("export", "whole", "--root", root, "--to", tmp_path / "whole.parquet")
    ran("import", f"parquet:{tmp_path / 'whole.parquet'}", "--into", tmp_path / "vectors", "--metric", "ip")
    build_sharded(VectorsFolder(tmp_path / "vectors"), 2, root=tmp_path, name="parts", metric="ip")
    ran("export", "parts", "--root", tmp_path, "--to", tmp_path / "parts.parquet")
    rows = {row["id"]: row["vector"] for row in pq.read_table(tmp_path / "parts.parquet").to_pylist()}
    assert rows == {id_: vector.tolist() for id_, vector in zip(IDS, VECTORS, strict=True)}


def test_files_are_replaced_only_when_told_and_only_whole(root: Path, tmp_path: Path, file_size_limit: Any) -> None:
    out = tmp_path / "docs.npy"
    (tmp_path / "docs.jsonl").write_text("mine")
    assert "docs.jsonl is there already" in ran("export", "docs", "--root", root, "--to", out, code=2).stderr
    with file_size_limit(64):
        assert isinstance(ran("export", "whole", "--root", root, "--to", out, "--replace", code=1).exception, OSError)
    assert [path.name for path in tmp_path.iterdir()] == ["docs.jsonl"]
    assert (tmp_path / "docs.jsonl").read_text() == "mine"
    assert (
        "expected .parquet or .npy" in ran("export", "docs", "--root", root, "--to", tmp_path / "x.csv", code=2).stderr
    )
