"""Parquet: every type of value finds a JSON form, and rows are named."""

from __future__ import annotations

import datetime
import decimal
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embed.documents.document import (
    Document,
    DocumentError,
    DocumentSource,
    Faults,
    FieldNames,
    UnreadableInputError,
    payload_json,
)
from embed.documents.parquet import read_parquet


def read(path: Path, on_error: str = "fail", **names: str) -> tuple[list[Document], Faults]:
    faults = Faults(on_error)
    source = DocumentSource(path.name, "parquet", path=path, size_bytes=path.stat().st_size)
    with path.open("rb") as stream:
        documents = list(read_parquet(stream, source, FieldNames(**names), faults))
    assert source.done_bytes == source.size_bytes
    return documents, faults


def test_values_of_every_kind(tmp_path: Path) -> None:
    utc = datetime.UTC
    columns = {
        "id": pa.array([7], pa.int64()),
        "text": pa.array(["t"]),
        "date": pa.array([datetime.date(2024, 2, 29)]),
        "time": pa.array([datetime.time(1, 2, 3)]),
        "stamp": pa.array([datetime.datetime(2024, 2, 29, 1, 2, 3, 4, tzinfo=utc)], pa.timestamp("us", "UTC")),
        "nanos": pa.array([1_700_000_000_123_456_789], pa.timestamp("ns")),
        "span": pa.array([datetime.timedelta(hours=1, microseconds=1)]),
        "price": pa.array([decimal.Decimal("12.30")], pa.decimal128(9, 2)),
        "bytes": pa.array([b"\x00\xff"]),
        "nan": pa.array([float("nan")]),
        "list": pa.array([[1.5, None, float("inf")]]),
        "struct": pa.array([{"day": datetime.date(2024, 1, 1), "n": None}]),
        "map": pa.array([[("a", 1), ("b", 2)]], pa.map_(pa.string(), pa.int32())),
        "category": pa.array(["x"]).dictionary_encode(),
        "flag": pa.array([True]),
        "big": pa.array([2**63 - 1]),
    }
    path = tmp_path / "types.parquet"
    pq.write_table(pa.table(columns), path)
    (document,), _ = read(path)
    assert document.id == "7"
    assert json.loads(payload_json(document, document.payload)) == {
        "text": "t",
        "date": "2024-02-29",
        "time": "01:02:03",
        "stamp": "2024-02-29T01:02:03.000004+00:00",
        "nanos": "2023-11-14 22:13:20.123456789",
        "span": 3600.000001,
        "price": "12.30",
        "bytes": "AP8=",
        "nan": None,
        "list": [1.5, None, None],
        "struct": {"day": "2024-01-01", "n": None},
        "map": {"a": 1, "b": 2},
        "category": "x",
        "flag": True,
        "big": 2**63 - 1,
    }


def test_rows_are_numbered_over_row_groups_and_batches(tmp_path: Path) -> None:
    count = 2500
    texts = [f"t{n}" if n != 2100 else "" for n in range(count)]
    path = tmp_path / "many.parquet"
    pq.write_table(pa.table({"id": list(range(count)), "text": texts}), path, row_group_size=700)
    with pytest.raises(DocumentError, match=r"many\.parquet, row 2101: nothing to embed"):
        read(path)
    documents, faults = read(path, "skip")
    assert len(documents) == count - 1
    assert faults.skipped == 1
    assert documents[-1].row == count


def test_missing_fields_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"key": ["1"], "body": ["b"]}), path)
    with pytest.raises(DocumentError, match=r"row 1: .*'key', 'body'"):
        read(path)
    documents, _ = read(path, id="key", text="body")
    assert documents[0].payload == {"body": "b"}


def test_a_damaged_file_is_an_input_error(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"id": ["1"] * 5000, "text": ["b" * 50] * 5000}), path, use_dictionary=False)
    data = path.read_bytes()
    path.write_bytes(data[:-100])
    with pytest.raises(UnreadableInputError, match=r"a\.parquet: cannot be read as Parquet"):
        read(path)


def test_a_text_that_a_writer_left_as_bytes_is_read_and_not_written_down_in_base64(tmp_path: Path) -> None:
    """Impala and old Hive do, and Spark with `binaryAsString` reads it so."""
    columns = {
        "id": pa.array([b"one", b"two", b"three"]),
        "title": pa.array(["é".encode(), None, b""]),
        "text": pa.array([b"a text", "ü".encode(), b"\xff\xfe"]),
        "raw": pa.array([b"\xff", b"", None]),
    }
    pq.write_table(pa.table(columns), tmp_path / "bytes.parquet")
    documents, faults = read(tmp_path / "bytes.parquet", "skip")
    assert [(one.id, one.title, one.text, one.payload["raw"]) for one in documents] == [
        ("one", "é", "a text", "/w=="),
        ("two", "", "ü", ""),
    ]
    assert faults.first[0].startswith("bytes.parquet, row 3: ")
    assert "field 'text' holds bytes that are not UTF-8" in faults.first[0]
