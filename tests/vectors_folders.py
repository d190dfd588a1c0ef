"""What lies in a folder of vectors, read as a reader would."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq


def manifest_of(out: Path) -> dict[str, Any]:
    manifest: dict[str, Any] = json.loads((out / "embed.json").read_text())
    return manifest


def table_of(out: Path) -> pa.Table:
    """All rows, each fragment checked against embed.json as a reader would."""
    manifest = manifest_of(out)
    tables = []
    for entry in manifest["fragments"]:
        path = out / entry["file"]
        assert path.stat().st_size == entry["bytes"]
        assert hashlib.sha256(path.read_bytes()).hexdigest() == entry["sha256"]
        tables.append(pq.read_table(path))
        assert tables[-1].num_rows == entry["rows"]
    table = pa.concat_tables(tables)
    assert table.num_rows == manifest["count"]
    return table


def files_of(out: Path) -> set[str]:
    return {path.name for path in out.iterdir()} - {".lock", "embed.json"}


def named_in(out: Path) -> set[str]:
    return {entry["file"] for entry in manifest_of(out)["fragments"]}
