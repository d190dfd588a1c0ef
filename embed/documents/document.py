"""A document: what is embedded, and what comes back with a hit.

Every format is read into the same four things: an id, a title, a text, and a payload that keeps
every field but the id as it was. What the model sees is "title text" where there is a title, else
the text: this is how the published figures of the BEIR collections were made, so a document with an
empty text but a title (TREC-COVID has thousands) is a document, and only one with neither is
refused.

A record that cannot be used is a `DocumentError` that names the file and the line (or row).
`Faults` decides what happens then: `fail` stops at the first, `skip` counts all and shows the first
few. What makes a whole file unusable (unreadable, a wrong extension, no such folder) always stops.

This module shapes one record. Opening files is `inputs.py`; the formats are `jsonl.py`,
`csv.py`, `parquet.py` and `docstrings.py`. It is no ETL tool: to join, filter
or rename, use DuckDB or jq first."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from embed.errors import EmbedError

# A line longer than this is a broken file (a missing newline, an unclosed quote) rather than a
# document: the model reads some thousand characters of it at most, and memory must stay bounded.
MAX_RECORD_BYTES = 64 << 20

# As many as an index takes.
MAX_ID_BYTES = 1024
# Deeper JSON is refused where it is read, since every later reader of a payload has a limit of its own.
MAX_DEPTH = 64

ID_FIELDS = ("id", "_id")
TEXT_FIELD = "text"
TITLE_FIELD = "title"
# Formats in which a file is one document.
PAGES = ("markdown", "html", "pdf")


class DocumentError(EmbedError):
    """One record cannot be used; the message opens with its file and line."""


class UnreadableInputError(EmbedError):
    """A whole input cannot be used: it cannot be opened, decoded or recognised."""


class NoSuchInputError(UnreadableInputError):
    """An input that names nothing: the command line itself is wrong."""


class FilePiece(NamedTuple):
    """Consecutive records of a file: bytes from `start` to before `end`, whole lines of JSON Lines or whole row groups
    of Parquet.

    rows: lines or rows before it; groups: the first row group and the one after the last.
    """

    start: int
    end: int
    rows: int = 0
    groups: tuple[int, int] | None = None


@dataclass(slots=True)
class DocumentSource:
    """One input and how far it has been read.

    done_bytes of size_bytes is the share of its records that was read, which progress is computed from; size_bytes is 0
    where unknown (stdin). lines_after: of a text file cut into pieces of equal size, about how many lines there are
    from each piece on, ending in 0: a sample, since the first records are often shorter than the rest. separator: of a
    CSV file, where one was given. inside: the path below the folder that was given, if one was. piece: what of
    the file is read, where that is not all. notes: what the reader has to tell the user at the end."""

    name: str
    format: str
    number: int = 0
    path: Path | None = None
    size_bytes: int = 0
    done_bytes: int = 0
    lines_after: list[float] = field(default_factory=list)
    read_bytes: int = 0
    separator: str | None = None
    inside: str = ""
    piece: FilePiece | None = None
    notes: list[str] = field(default_factory=list)

    def at(self, row: int) -> str:
        """Where a record is, as the user would look it up: `corpus.jsonl:12`, `table.parquet, row
        12`.
        """
        if self.format in PAGES:
            return self.name
        return f"{self.name}, row {row}" if self.format == "parquet" else f"{self.name}:{row}"

    def passed(self, lines: int, line_bytes: int) -> None:
        """Notes that `lines` lines have been read, the last of them `line_bytes` long."""
        if self.lines_after:
            self.read_bytes = min(self.size_bytes, self.read_bytes + line_bytes)
            place = self.read_bytes * (len(self.lines_after) - 1) / self.size_bytes
            at = min(int(place), len(self.lines_after) - 2)
            rest = self.lines_after[at] + (self.lines_after[at + 1] - self.lines_after[at]) * (place - at)
            self.done_bytes = round(self.size_bytes * lines / (lines + rest))


@dataclass(slots=True)
class Document:
    """payload: every field but the id; text_field: the name that `text` has in it; row: 1-based
    line or row of source; done_bytes: the source's when this record was read.
    """

    id: str
    title: str
    text: str
    payload: dict[str, object]
    source: DocumentSource
    row: int
    text_field: str = TEXT_FIELD
    done_bytes: int = 0

    @property
    def where(self) -> str:
        return self.source.at(self.row)


def embedded_text(title: str, text: str) -> str:
    """What the model is given: title + " " + text, or the one of them that is there."""
    return f"{title} {text}".strip() if title else text.strip()


@dataclass(frozen=True, slots=True)
class FieldNames:
    """Which fields hold what; None: the defaults (`id` or `_id`, `text`, `title` if there). title
    "": no title.

    number_rows gives each record its place ("corpus.csv:12") as id and keeps every field as
    payload."""

    id: str | None = None
    text: str | None = None
    title: str | None = None
    number_rows: bool = False


@dataclass(slots=True)
class Faults:
    """What became of the records that could not be used: `on_error` is "fail" or "skip"."""

    on_error: str = "fail"
    skipped: int = 0
    first: list[str] = field(default_factory=list)

    SHOWN = 5

    def meet(self, error: DocumentError) -> None:
        """Raises `error` under "fail"; counts it under "skip"."""
        if self.on_error == "fail":
            raise DocumentError(f"{error}. To leave out records that cannot be used: --on-error skip") from error
        self.skipped += 1
        if len(self.first) < self.SHOWN:
            self.first.append(str(error))


def shape(record: Mapping[str, object], names: FieldNames, source: DocumentSource, row: int) -> Document:
    """The record as a document. DocumentError where a field is missing or of the wrong type."""
    where = source.at(row)
    id_field, document_id = id_of(record, names, where, f"{source.name}:{row}")
    text_field = names.text or TEXT_FIELD
    if text_field not in record:
        raise DocumentError(
            f"{where}: there is no field {text_field!r} to embed; fields here: {_seen(record)}. "
            "Name the one that holds the text with --text-field"
        )
    title_field = TITLE_FIELD if names.title is None else names.title
    if names.title and title_field not in record:
        raise DocumentError(f"{where}: there is no field {title_field!r}; fields here: {_seen(record)}")
    text = string_of(record, text_field, where)
    title = string_of(record, title_field, where) if title_field in record else ""
    if not embedded_text(title, text):
        raise DocumentError(f"{where}: nothing to embed: field {text_field!r} is empty (id {document_id!r})")
    payload = {key: value for key, value in record.items() if key != id_field}
    for key, value in payload.items():
        if isinstance(value, dict | list) and not _shallow(value):
            raise DocumentError(too_deep(where, f"field {key!r}"))
    return Document(document_id, title, text, payload, source, row, text_field, source.done_bytes)


def too_deep(where: str, what: str) -> str:
    """The message for JSON that is nested too deeply."""
    return f"{where}: {what} is nested more than {MAX_DEPTH} levels deep. Flatten it, or leave it out"


def check_id(document_id: str, where: str) -> None:
    """DocumentError where no index would take the id."""
    size = len(document_id.encode())
    if size > MAX_ID_BYTES:
        raise DocumentError(
            f"{where}: the id {document_id[:40]!r}… has {size:,} bytes, and an index takes up to {MAX_ID_BYTES:,}. "
            "Shorten it, name another field with --id-field, or let --number-rows make FILE:ROW the id"
        )


def payload_json(document: Document, payload: Mapping[str, object]) -> bytes:
    """One UTF-8 JSON object. DocumentError where a value has no JSON form (half a surrogate pair, a
    number beyond float64).
    """
    try:
        text = json.dumps(payload, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return text.encode()
    except UnicodeEncodeError:
        raise DocumentError(
            f"{document.where}: a string holds half a surrogate pair, which has no UTF-8 form"
        ) from None
    except ValueError as error:
        raise DocumentError(f"{document.where}: a value cannot be kept as JSON ({error})") from None


def id_of(record: Mapping[str, object], names: FieldNames, where: str, number_id: str) -> tuple[str | None, str]:
    """The field that holds the id (None: no field does) and the id. Raises DocumentError where an index has no use
    for it."""
    if names.number_rows:
        check_id(number_id, where)
        return None, number_id
    candidates = (names.id,) if names.id else ID_FIELDS
    name = next((name for name in candidates if name in record), None)
    if name is None:
        wanted = " or ".join(repr(candidate) for candidate in candidates)
        raise DocumentError(
            f"{where}: there is no field {wanted} to take the id from; fields here: {_seen(record)}. "
            "Name it with --id-field, or let --number-rows make FILE:ROW the id"
        )
    value = record[name]
    if isinstance(value, int) and not isinstance(value, bool):
        return name, str(value)
    if not isinstance(value, str):
        raise DocumentError(f"{where}: the id in field {name!r} is {_kind(value)}; a string or an integer was expected")
    if not value:
        raise DocumentError(f"{where}: the id in field {name!r} is empty")
    _check_unicode(value, name, where)
    check_id(value, where)
    return name, value


def string_of(record: Mapping[str, object], name: str, where: str) -> str:
    """The text in a field, "" for null. Raises DocumentError for anything else."""
    value = record[name]
    if value is None:
        return ""
    if not isinstance(value, str):
        raise DocumentError(f"{where}: field {name!r} is {_kind(value)}; a string was expected")
    _check_unicode(value, name, where)
    return value


def _check_unicode(value: str, name: str, where: str) -> None:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise DocumentError(
            f"{where}: field {name!r} is not valid Unicode at character {error.start} (half a surrogate pair)"
        ) from None


def _shallow(value: object) -> bool:
    """Whether it is nested at most MAX_DEPTH levels deep; without recursion, which has a limit of its own."""
    level = [value]
    for _ in range(MAX_DEPTH):
        inner: list[object] = []
        for each in level:
            inner += each.values() if isinstance(each, dict) else each if isinstance(each, list) else ()
        level = [each for each in inner if isinstance(each, dict | list)]
        if not level:
            return True
    return False


def _kind(value: object) -> str:
    kinds = {bool: "a boolean", int: "an integer", float: "a number", list: "an array", dict: "an object"}
    return "null" if value is None else kinds.get(type(value), type(value).__name__)


def _seen(record: Mapping[str, object]) -> str:
    names = [repr(name) for name in list(record)[:20]]
    more = f" and {len(record) - 20} more" if len(record) > 20 else ""
    return ", ".join(names) + more if names else "none"
