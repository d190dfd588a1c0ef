"""JSON Lines: one object a line, UTF-8, plain or gzipped.

Read as bytes, line by line, so that the line number in an error is the one an editor shows and a
bad line costs only itself. Blank lines are passed over; a byte-order mark and CRLF are accepted.
NaN and Infinity, which Python writes but JSON does not know, become null."""

import json
from collections.abc import Iterator
from typing import BinaryIO

from embed.documents import (
    MAX_RECORD_BYTES,
    Document,
    DocumentError,
    Faults,
    FieldNames,
    InputError,
    Source,
    shape,
)

BOM = b"\xef\xbb\xbf"


def read_jsonl(stream: BinaryIO, source: Source, names: FieldNames, faults: Faults) -> Iterator[Document]:
    """The documents of the stream, in order."""
    for row, line in _lines(stream, source, faults):
        try:
            yield shape(_record(line, source, row), names, source, row)
        except DocumentError as error:
            faults.meet(error)


def _lines(stream: BinaryIO, source: Source, faults: Faults) -> Iterator[tuple[int, bytes]]:
    row = 0
    while line := stream.readline(MAX_RECORD_BYTES + 1):
        row += 1
        if row == 1:
            if line.startswith((b"\xff\xfe", b"\xfe\xff")):
                raise InputError(
                    f"{source.name}: this is UTF-16, and JSON Lines are UTF-8; "
                    f"convert it first: iconv -f utf-16 -t utf-8"
                )
            line = line.removeprefix(BOM)
        if len(line) > MAX_RECORD_BYTES:
            while line and not line.endswith(b"\n"):
                line = stream.readline(MAX_RECORD_BYTES)
            mib = MAX_RECORD_BYTES >> 20
            faults.meet(DocumentError(f"{source.at(row)}: the line is longer than {mib} MiB"))
        elif line.strip():
            yield row, line


def _record(line: bytes, source: Source, row: int) -> dict[str, object]:
    try:
        value = json.loads(line.decode(), parse_constant=lambda _name: None)
    except UnicodeDecodeError as error:
        raise DocumentError(
            f"{source.at(row)}: not valid UTF-8 at byte {error.start + 1} of the line (0x{line[error.start]:02x})"
        ) from None
    except json.JSONDecodeError as error:
        raise DocumentError(f"{source.at(row)}: not JSON: {error.msg} at column {error.colno}") from None
    except (ValueError, RecursionError) as error:
        raise DocumentError(f"{source.at(row)}: not usable JSON: {error}") from None
    if not isinstance(value, dict):
        raise DocumentError(
            f"{source.at(row)}: a JSON object was expected, got {line.strip()[:40].decode(errors='replace')!r}"
        )
    return value
