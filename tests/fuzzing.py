"""What a stranger can hand us as bytes, each with what may come of it: a value, or the one error that is meant for it.

`make test` runs each for a moment on what Hypothesis makes up and on mutations of valid inputs (test_service_fuzz.py);
`make fuzz` lets atheris look for new branches as long as one likes (fuzz.py). Anything but the expected error ends
either.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from msgspec import Raw

from index import GenerationError
from index.disk.manifest import MANIFEST_FILE, check_files, read_manifest
from index.disk.sealed import seal_of
from index.search.fields.columns import ColumnReader, parse_fields
from index.search.fields.postings import open_columns
from index.search.filtering import Filters
from index.search.rowfiles import write_columns
from service.wire import cursor, filters
from service.wire.problems import Problem

TYPES = {"lang": "keyword", "year": "int", "price": "float", "draft": "bool", "day": "date", "tags": "keyword[]"}
ROWS: list[dict[str, Any]] = [
    {"lang": "en", "year": 1, "price": 0.5, "draft": True, "day": "2020-01-01", "tags": ["a", "b"]},
    {"lang": "de", "year": -5, "price": -0.0, "draft": False, "day": "1969-01-01T00:00:00+02:00", "tags": []},
    {},
]
QUERY = b"q" * 12


class Rows:
    """What a generation is to a filter."""

    def __init__(self, columns: Filters) -> None:
        self.survivors = columns.bitmap


@cache
def columns() -> Rows:
    folder = Path(tempfile.mkdtemp(prefix="perwatt-fuzz-"))
    reader = ColumnReader(parse_fields([f"{name}:{type_}" for name, type_ in TYPES.items()]))
    reader.take([json.dumps(row).encode() for row in ROWS], [0, 1, 2], range(3))
    write_columns(folder, reader)
    return Rows(Filters(open_columns(folder, TYPES, len(ROWS)), len(ROWS)))


def a_filter(data: bytes) -> None:
    """The body's filter as the service takes it: a bitmap of three rows, or a problem of the closed list with 4xx."""
    refused = None
    try:
        filter_ = filters.parse(Raw(data))
        if filter_ is not None:
            kept = filters.survivors(columns(), filter_)
            assert kept.count == len(kept.rows) <= len(ROWS)
            assert filters.survivors(columns(), filter_ & filter_).rows.tolist() == kept.rows.tolist()
    except Problem as problem:
        refused = problem
    if refused is not None:
        assert refused.status in (400, 422)
        assert (refused.pointer or "").startswith("/filter")
        refused.body()


def a_cursor(data: bytes) -> None:
    """A cursor comes back as it went, or is refused."""
    refused = None
    try:
        found = cursor.decode(data.decode("utf-8", "surrogateescape"), "gen", QUERY, 100)
        assert (found.generation, found.query) == ("gen", QUERY)
        assert 0 <= found.row < 100
        assert cursor.decode(cursor.encode(found), "gen", QUERY, 100) == found
    except Problem as problem:
        refused = problem
    if refused is not None:
        assert refused.code in ("invalid-value", "generation-gone")
        refused.body()


def a_signed_cursor(data: bytes) -> None:
    """As `a_cursor`, for whoever knows how the checksum is made: the bytes inside are free."""
    signed = data + cursor.checksum(data)
    from binascii import b2a_base64

    a_cursor(b2a_base64(signed, newline=False))


@cache
def folder() -> Path:
    made = Path(tempfile.mkdtemp(prefix="perwatt-fuzz-")) / "gen"
    made.mkdir()
    (made / "data").write_bytes(b"data")
    return made


def a_manifest(data: bytes) -> None:
    """Read and compared with its folder, or a GenerationError that names a file. Sealed anew where it is an object, so
    that what lies behind the seal is reached."""
    raw = data
    try:
        content = json.loads(data)
        if isinstance(content, dict):
            content["sha256"] = seal_of(content)
            raw = (json.dumps(content, sort_keys=True, indent=1, separators=(",", ": "), ensure_ascii=False,
                              allow_nan=False) + "\n").encode()  # fmt: skip
    except (ValueError, RecursionError):
        pass
    for each in (data, raw):
        (folder() / MANIFEST_FILE).write_bytes(each)
        said = str(folder())
        try:
            check_files(folder(), read_manifest(folder()), 1)
        except GenerationError as error:
            said = str(error)
        assert str(folder()) in said


def valid_manifest() -> bytes:
    digest = {"bytes": 4, "sha256": hashlib.sha256(b"data").hexdigest()}
    content: dict[str, Any] = {
        "format": 1, "generation": "gen", "name": "g", "created_at": "", "count": 1, "dim": 1, "metric": "ip",
        "family": "flat", "family_reason": "", "id_type": "str", "model": None, "canaries": [], "build": {},
        "recall": {}, "effort": {}, "sections": {}, "filterable": {}, "memory_bytes": 1, "memory_private_bytes": 1,
        "files": {"data": digest},
    }  # fmt: skip
    content["sha256"] = seal_of(content)
    return (json.dumps(content, sort_keys=True, indent=1, separators=(",", ": ")) + "\n").encode()


TARGETS: dict[str, Callable[[bytes], None]] = {
    "filter": a_filter,
    "cursor": a_cursor,
    "signed-cursor": a_signed_cursor,
    "manifest": a_manifest,
}
SEEDS: dict[str, list[bytes]] = {
    "filter": [
        b'{"field": "lang", "eq": "en"}',
        b'{"and": [{"field": "year", "gte": -5, "lt": 9000}, {"not": {"field": "tags", "in": ["a", "z"]}}]}',
        b'{"or": [{"field": "day", "gt": "2019-12-31T23:59:59.5Z"}, {"field": "price", "lte": 1e308}]}',
        b'{"field": "draft", "exists": false}',
    ],
    "cursor": [cursor.encode(cursor.Cursor("gen", QUERY, 10, 0.5, 7, 0, 10)).encode()],
    "signed-cursor": [cursor._ENCODER.encode(cursor.Cursor("gen", QUERY, 10, 0.5, 7, 0, 10))],
    "manifest": [valid_manifest()],
}
