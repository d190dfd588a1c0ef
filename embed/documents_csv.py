"""CSV and TSV with a header line, quoted as RFC 4180 has it (a quoted field may hold separators,
newlines and "").

Every value is a string and stays one. Rows are named by the line they start on, since a quoted
newline makes lines and rows differ. A row with more or fewer fields than the header is refused:
nearly always it is an unescaped separator, and guessing would move text into the wrong field."""

import csv
from collections.abc import Iterator
from typing import BinaryIO, Self

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
from embed.documents_jsonl import BOM


def read_csv(stream: BinaryIO, source: Source, names: FieldNames, faults: Faults) -> Iterator[Document]:
    """The documents of the stream, in order; the separator is a tab for .tsv and a comma otherwise."""
    csv.field_size_limit(MAX_RECORD_BYTES)
    delimiter = "\t" if source.format == "tsv" else ","
    lines = _Lines(stream)
    rows = csv.reader(lines, delimiter=delimiter, strict=True)
    header: list[str] | None = None
    while True:
        row = lines.count + 1
        try:
            fields = next(rows)
            if not fields:
                continue
            if header is None:
                header = _header(fields, source)
                continue
            yield shape(_record(header, fields, source, row), names, source, row)
        except StopIteration:
            return
        except csv.Error as error:
            open_quote = "limit" in str(error) or "end of data" in str(error)
            hint = " (is a quote left open?)" if open_quote else ""
            faults.meet(DocumentError(f"{source.at(row)}: not valid {source.format.upper()}: {error}{hint}"))
        except DocumentError as error:
            faults.meet(error)


class _Lines:
    """Lines as text, counted; bytes that are not UTF-8 come through as lone surrogates and are refused field by field.

    An iterator and not a generator, which would end with the first error: the csv reader goes on after one.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.count = 0

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> str:
        line = self._stream.readline(MAX_RECORD_BYTES + 1)
        if not line:
            raise StopIteration
        self.count += 1
        if len(line) > MAX_RECORD_BYTES:
            while line and not line.endswith(b"\n"):
                line = self._stream.readline(MAX_RECORD_BYTES)
            raise csv.Error(f"the line is longer than {MAX_RECORD_BYTES >> 20} MiB")
        return (line.removeprefix(BOM) if self.count == 1 else line).decode(errors="surrogateescape")


def _header(fields: list[str], source: Source) -> list[str]:
    header = [field.strip() for field in fields]
    if "" in header or len(set(header)) != len(header):
        raise InputError(
            f"{source.name}: the first line must name every column once, and it reads {', '.join(map(repr, header))}"
        )
    return header


def _record(header: list[str], fields: list[str], source: Source, row: int) -> dict[str, object]:
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
