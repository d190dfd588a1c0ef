"""CSV and TSV with a header line, quoted as RFC 4180 has it (a quoted field may hold separators,
newlines and "").

Every value is a string and stays one. Rows are named by the line they start on, since a quoted
newline makes lines and rows differ. A row with more or fewer fields than the header is refused:
nearly always it is an unescaped separator, and guessing would move text into the wrong field."""

import csv
from collections.abc import Iterator
from functools import partial
from typing import BinaryIO

from embed.documents.document import (
    MAX_RECORD_BYTES,
    Document,
    DocumentError,
    DocumentSource,
    Faults,
    FieldNames,
    UnreadableInputError,
    shape,
)
from embed.documents.lines import TextLines

TAB = "\t"
SEPARATORS = (";", TAB, "|", ",")  # looked for in a header that is one column


def read_csv(stream: BinaryIO, source: DocumentSource, names: FieldNames, faults: Faults) -> Iterator[Document]:
    """The documents of the stream, in order; a separator that was not given is a tab for .tsv and a comma otherwise."""
    csv.field_size_limit(MAX_RECORD_BYTES)
    separator = source.separator or (TAB if source.format == "tsv" else ",")
    lines = TextLines(stream, source)
    # Bytes that are not UTF-8 come through as lone surrogates and are refused field by field.
    rows = csv.reader(map(partial(bytes.decode, errors="surrogateescape"), lines), delimiter=separator, strict=True)
    header: list[str] | None = None
    while True:
        row = lines.count + 1
        try:
            fields = next(rows)
            if not fields:
                continue
            if header is None:
                header = _header(fields, separator, source, row)
                continue
            yield shape(_record(header, fields, source, row), names, source, row)
        except StopIteration:
            return
        except csv.Error as error:
            open_quote = "limit" in str(error) or "end of data" in str(error)
            hint = " (is a quote left open?)" if open_quote else ""
            what = f"{source.at(row)}: not valid {source.format.upper()}: {error}{hint}"
            if header is None:
                raise UnreadableInputError(
                    f"{what}. If the header is not separated by {separator!r}, use --separator"
                ) from None
            faults.meet(DocumentError(what))
        except DocumentError as error:
            faults.meet(error)


def _header(fields: list[str], separator: str, source: DocumentSource, row: int) -> list[str]:
    header = [field.strip() for field in fields]
    other = next((each for each in SEPARATORS if each in header[0]), None)
    if len(header) == 1 and other:
        raise UnreadableInputError(
            f"{source.at(row)}: split at {separator!r} the header {header[0][:80]!r} is one column; "
            f"it seems to be separated by {other!r}: --separator {'tab' if other == TAB else repr(other)}"
        )
    if "" in header or len(set(header)) != len(header):
        raise UnreadableInputError(
            f"{source.at(row)}: the header must name every column once, and it reads {', '.join(map(repr, header))}"
        )
    return header


def _record(header: list[str], fields: list[str], source: DocumentSource, row: int) -> dict[str, object]:
    if len(fields) != len(header):
        raise DocumentError(
            f"{source.at(row)}: {len(fields)} fields where the header has {len(header)}; "
            "is a separator or a quote left unescaped?"
        )
    for name, value in zip(header, fields, strict=True):
        if not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError:
                raise DocumentError(f"{source.at(row)}: field {name!r} is not valid UTF-8") from None
    return dict(zip(header, fields, strict=True))
