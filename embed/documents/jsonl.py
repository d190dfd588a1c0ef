"""JSON Lines: one object a line, UTF-8, plain or gzipped.

A bad line costs only itself. Blank lines are passed over; a byte-order mark and CRLF are accepted. NaN and Infinity,
which Python writes but JSON does not know, become null."""

import json
from collections.abc import Iterator
from typing import BinaryIO

from embed.documents.document import Document, DocumentError, DocumentSource, Faults, FieldNames, shape, too_deep
from embed.documents.lines import TextLines


def read_jsonl(stream: BinaryIO, source: DocumentSource, names: FieldNames, faults: Faults) -> Iterator[Document]:
    """The documents of the stream, in order."""
    lines = TextLines(stream, source)
    while True:
        try:
            line = next(lines)
            if line.strip():
                yield shape(_record(line, source, lines.count), names, source, lines.count)
        except StopIteration:
            return
        except DocumentError as error:
            faults.meet(error)


def _record(line: bytes, source: DocumentSource, row: int) -> dict[str, object]:
    try:
        value = json.loads(line.decode(), parse_constant=lambda _name: None)
    except UnicodeDecodeError as error:
        raise DocumentError(
            f"{source.at(row)}: not valid UTF-8 at byte {error.start + 1} of the line (0x{line[error.start]:02x})"
        ) from None
    except json.JSONDecodeError as error:
        raise DocumentError(f"{source.at(row)}: not JSON: {error.msg} at column {error.colno}") from None
    except RecursionError:
        raise DocumentError(too_deep(source.at(row), "the JSON")) from None
    except ValueError as error:
        raise DocumentError(f"{source.at(row)}: not usable JSON: {error}") from None
    if not isinstance(value, dict):
        raise DocumentError(
            f"{source.at(row)}: a JSON object was expected, got {line.strip()[:40].decode(errors='replace')!r}"
        )
    return value
