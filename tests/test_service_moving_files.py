"""Moving in from files: arrays and FAISS indexes with their records, Parquet, and what does not fit together."""

from __future__ import annotations

import gzip
import json
import uuid
from decimal import Decimal
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from deploy.command import perwatt
from embed.documents.document import Faults, FieldNames
from embed.vectors.manifest import read_manifest
from index.disk.vectors_folder import VectorsFolder
from service.moving.rows import Collection, MovedRows, Moving

ROWS, DIM = 2500, 8
VECTORS = np.random.default_rng(4).standard_normal((ROWS, DIM)).astype(np.float32)
RECORDS = [{"id": f"d{row}", "text": f"Text {row}.", "year": 2000 + row % 30} for row in range(ROWS)]


def ran(*words: object, code: int = 0) -> Result:
    done = CliRunner().invoke(perwatt, ["import", *(str(word) for word in words)])
    assert done.exit_code == code, (done.output, done.exception)
    return done


def moved(out: Path) -> tuple[list[str], np.ndarray[Any, Any], list[dict[str, Any]], dict[str, Any]]:
    """Ids, vectors and payloads of a vectors folder, and what a build of it takes for granted."""
    batches = list(VectorsFolder(out).batches())
    manifest = read_manifest(out)
    assert manifest is not None
    return (
        [str(id_) for batch in batches for id_ in batch.ids],
        np.concatenate([batch.vectors for batch in batches]),
        [json.loads(raw) for batch in batches for raw in batch.payload or []],
        manifest["defaults"],
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """vectors.npy and the same records in every format."""
    folder = tmp_path_factory.mktemp("arrays")
    np.save(folder / "vectors.npy", VECTORS)
    np.save(folder / "half.npy", VECTORS.astype(np.float16))
    np.save(folder / "ids.npy", np.arange(ROWS) * 3)
    lines = "".join(json.dumps(record) + "\n" for record in RECORDS)
    (folder / "records.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    (folder / "records.csv").write_text(
        "id,text,year\r\n" + "".join(f"{r['id']},{r['text']},{r['year']}\r\n" for r in RECORDS)
    )
    (folder / "ids.txt").write_text("".join(f"{record['id']}\n" for record in RECORDS))
    pq.write_table(pa.Table.from_pylist(RECORDS), folder / "records.parquet", row_group_size=700)
    return folder


@pytest.mark.parametrize("name", ["records.jsonl.gz", "records.parquet", "records.csv", "ids.txt"])
def test_an_array_takes_ids_and_fields_from_the_records_in_its_order(folder: Path, tmp_path: Path, name: str) -> None:
    ran(f"npy:{folder / 'vectors.npy'}", "--records", folder / name, "--into", tmp_path / "out")
    ids, vectors, payloads, defaults = moved(tmp_path / "out")
    assert ids == [record["id"] for record in RECORDS]
    assert vectors.tobytes() == VECTORS.tobytes()
    if name != "ids.txt":
        year: Any = RECORDS[7]["year"] if name != "records.csv" else str(RECORDS[7]["year"])
        assert payloads[7] == {"text": "Text 7.", "year": year}
        assert defaults == {"filterable": {"year": "keyword" if name == "records.csv" else "int"}}


def test_an_array_alone_is_numbered_and_half_floats_are_taken(folder: Path, tmp_path: Path) -> None:
    said = ran(f"npy:{folder / 'half.npy'}", "--into", tmp_path / "out", "--metric", "ip").stderr
    assert "2,500 rows of 8 dimensions" in said
    ids, vectors, _payloads, defaults = moved(tmp_path / "out")
    assert ids == [str(row) for row in range(ROWS)]
    assert vectors.tobytes() == VECTORS.astype(np.float16).astype(np.float32).tobytes()
    assert defaults == {"metric": "ip", "filterable": {}}
    ran(f"npy:{folder / 'vectors.npy'}", "--records", folder / "ids.npy", "--into", tmp_path / "numbers")
    assert moved(tmp_path / "numbers")[0][:3] == ["0", "3", "6"]


def test_records_that_are_not_one_for_each_vector_are_refused(folder: Path, tmp_path: Path) -> None:
    for count, said in ((ROWS - 1, "2,500 vectors and .* 2,499 records"), (ROWS + 1, "more than 2,500 records")):
        lines = tmp_path / f"{count}.txt"
        lines.write_text("".join(f"{row}\n" for row in range(count)))
        refused = ran(f"npy:{folder / 'vectors.npy'}", "--records", lines, "--into", tmp_path / "out", code=1)
        with pytest.raises(type(refused.exception), match=said):  # type: ignore[arg-type]
            raise refused.exception  # type: ignore[misc]
    assert not (tmp_path / "out").exists()
    broken = tmp_path / "broken.jsonl"
    broken.write_text('{"id": 1}\nnot JSON\n')
    refused = ran(f"npy:{folder / 'vectors.npy'}", "--records", broken, "--into", tmp_path / "out", code=1)
    assert "broken.jsonl cannot be read as the records of the vectors" in str(refused.exception)
    assert "something else" in str(ran(f"npy:{broken}", "--into", tmp_path / "out", code=1).exception)


def indexes() -> dict[str, Any]:
    return {
        "flat": faiss.IndexFlatIP(DIM),
        "graph": faiss.IndexHNSWFlat(DIM, 8),
        "named": faiss.IndexIDMap2(faiss.IndexFlatL2(DIM)),
        "lists": faiss.index_factory(DIM, "IVF4,Flat"),
        "codes": faiss.index_factory(DIM, "PQ4x4"),
    }


@pytest.mark.parametrize("kind", ["flat", "graph", "named", "lists"])
def test_an_index_of_faiss_gives_back_its_vectors_metric_and_ids(folder: Path, tmp_path: Path, kind: str) -> None:
    index, path = indexes()[kind], tmp_path / "index.faiss"
    index.train(VECTORS)
    if kind == "named":
        index.add_with_ids(VECTORS, np.arange(ROWS)[::-1] + 10)
    else:
        index.add(VECTORS)
    faiss.write_index(index, str(path))
    ran(f"faiss:{path}", "--into", tmp_path / "out")
    ids, vectors, _payloads, defaults = moved(tmp_path / "out")
    assert vectors.tobytes() == VECTORS.tobytes()
    assert ids == [str(row) for row in (range(ROWS) if kind != "named" else range(ROWS + 9, 9, -1))]
    assert defaults["metric"] == ("ip" if kind == "flat" else "l2")
    ran(f"faiss:{path}", "--records", folder / "records.parquet", "--into", tmp_path / "out2")
    assert moved(tmp_path / "out2")[0][-1] == "d2499"


def test_an_index_that_keeps_no_vectors_is_refused(tmp_path: Path) -> None:
    index, path = indexes()["codes"], tmp_path / "index.faiss"
    index.train(VECTORS)
    index.add(VECTORS)
    faiss.write_index(index, str(path))
    refused = ran(f"faiss:{path}", "--into", tmp_path / "out", code=1)
    assert "IndexPQ, which keeps codes of its vectors and not the vectors" in str(refused.exception)
    path.write_bytes(b"nothing of FAISS's")
    assert "cannot be read by FAISS" in str(ran(f"faiss:{path}", "--into", tmp_path / "out", code=1).exception)


def test_parquet_needs_no_more_than_a_column_of_vectors(tmp_path: Path) -> None:
    lists: Any = [row.tolist() for row in VECTORS[:6]]
    table = pa.table({
        "_id": pa.array(range(6), pa.int64()),
        "content": [f"Text {row}." for row in range(6)],
        "when": pa.array([1_700_000_000_000_000_000 + row for row in range(6)], pa.timestamp("ns")),
        "metadata": ['{"lang": "en", "content": "another"}'] * 6,
        "embedding": pa.array(lists, pa.list_(pa.float64())),
        "other": pa.array(lists, pa.list_(pa.float32())),
    })  # fmt: skip
    folder = tmp_path / "in"
    folder.mkdir()
    for part in range(2):
        pq.write_table(table.slice(3 * part, 3), folder / f"part{part}.parquet")
    ran(f"parquet:{folder}", "--into", tmp_path / "out")
    ids, vectors, payloads, defaults = moved(tmp_path / "out")
    assert ids == [str(row) for row in range(6)]
    assert vectors.tobytes() == VECTORS[:6].tobytes()
    assert payloads[2] == {
        "text": "Text 2.", "when": "2023-11-14 22:13:20.000000002", "other": pytest.approx(lists[2]),
        "lang": "en", "metadata_content": "another",
    }  # fmt: skip
    assert defaults == {"filterable": {"when": "date", "lang": "keyword", "metadata_content": "keyword"}}
    ran(f"parquet:{folder}", "--vector-field", "other", "--into", tmp_path / "out", "--replace")
    missing = ran(f"parquet:{folder}", "--vector-field", "content", "--into", tmp_path / "none", code=1)
    assert "has no column 'content' of vectors; columns of floats: embedding, other" in str(missing.exception)
    lines = tmp_path / "docs.jsonl"
    ran(f"parquet:{folder}", "--documents", lines, "--id-field", "content", "--text-field", "lang")
    assert json.loads(lines.read_text().splitlines()[0])["text"] == "en"


def test_rows_without_vectors_or_of_another_width_are_named(tmp_path: Path) -> None:
    rows = [[1.0, 2.0], None, [1.0, 2.0, 3.0], [3.0, 4.0]]
    pq.write_table(pa.table({"vector": pa.array(rows, pa.list_(pa.float32()))}), tmp_path / "odd.parquet")
    said = ran(f"parquet:{tmp_path / 'odd.parquet'}", "--number-rows", "--on-error", "skip", "--into", tmp_path / "out")
    assert moved(tmp_path / "out")[0] == ["0", "3"]
    assert "skipped 2 records" in said.stderr


def test_ids_that_only_a_database_has_are_strings(tmp_path: Path) -> None:
    """Columns of PostgreSQL's types uuid and numeric come as such."""
    name = uuid.UUID("550e8400-e29b-41d4-a716-446655440000")
    records = [{"id": name, "text": "one"}, {"id": Decimal(12), "text": "two"}]
    found = Collection("a table", lambda vectors: iter([MovedRows(records, None)]))
    documents = list(Moving(found, FieldNames(), Faults("fail")).documents(False))
    assert [document.id for document in documents] == [str(name), "12"]
