"""What every reader gives: a collection, and its rows some hundreds at a time.

A row is a record of plain fields, the id and the text among them, and its vector where vectors were asked for. Which
field is the id and which the text is decided here, once for all sources. Frameworks keep what they call metadata in one
object; its fields are taken out, since filters know fields and not what is inside of them.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Collection as Names
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from embed.documents.document import Document, DocumentError, DocumentSource, Faults, FieldNames, id_of, string_of
from embed.documents.inputs import unique
from embed.documents.parquet import jsonable
from service.errors import ServiceError

# Names that sources and frameworks give to a text, in the order in which they are looked for.
TEXTS = ("text", "document", "page_content", "content", "chunk")
# Objects whose fields are fields of the row.
NESTED = ("metadata", "cmetadata", "metadata_")
LEVELS = 2  # a framework's object inside of the engine's
TEXT = "text"
RESERVED = ("id", "_id")  # would be taken for the id of the document


class MovingError(ServiceError):
    """Something cannot be moved in or out; says what was met and what to do about it."""


class MovedRows(NamedTuple):
    """Some rows. vectors: one for each record, or None for each that has none; None where none were asked for."""

    records: Sequence[dict[str, object]]
    vectors: Sequence[Any] | NDArray[Any] | None


@dataclass(frozen=True)
class SourceOptions:
    """What the command line says of a source.

    Args:
        place: What follows the engine and the colon.
        collection: The collection, table or split.
        key: For a server.
        vector_field: The field or column of the vectors, where there may be several.
        records: A file with the ids and fields of vectors that have none themselves.
    """

    place: str
    collection: str | None = None
    key: str | None = None
    vector_field: str | None = None
    records: Path | None = None


@dataclass(frozen=True)
class Collection:
    """What a source holds under one name.

    Args:
        name: As the user wrote it, for messages and the record.
        read: The rows from the first on, with their vectors or without.
        count: Of the rows, where the source tells.
        metric: cosine, ip or l2, where the source tells.
        model: What the source says of the model of its vectors.
    """

    name: str
    read: Callable[[bool], Iterator[MovedRows]]
    count: int | None = None
    metric: str | None = None
    model: str | None = None


@dataclass(slots=True)
class MovedDocument(Document):
    """vector: float32 (dim,); None where none was asked for."""

    vector: NDArray[np.float32] | None = None


@dataclass
class Moving:
    """Reads a collection as documents with unique ids; what cannot be used goes to `faults`.

    Args:
        need_text: Whether a row without a text is a fault, as for documents that are to be embedded.
        renamed: Fields that had to be called something else, with their new names.
    """

    collection: Collection
    names: FieldNames
    faults: Faults
    need_text: bool = False
    renamed: dict[str, str] = field(default_factory=dict)

    def documents(self, vectors: bool) -> Iterator[MovedDocument]:
        """Every usable row. Raises MovingError where there is none."""
        source = DocumentSource(self.collection.name, "parquet")  # whose rows are called rows in messages
        count = 0
        for document in unique(self._all(source, vectors), [source], self.faults):
            count += 1
            yield document
        if not count:
            why = f": all {self.faults.skipped:,} rows were left out" if self.faults.skipped else ": it is empty"
            first = f", first: {self.faults.first[0]}" if self.faults.first else ""
            raise MovingError(f"there is nothing to move in {self.collection.name}{why}{first}")

    def _all(self, source: DocumentSource, vectors: bool) -> Iterator[MovedDocument]:
        row = 0
        for batch in self.collection.read(vectors):
            for number, record in enumerate(batch.records):
                row += 1
                try:
                    vector = None if batch.vectors is None else batch.vectors[number]
                    yield self._shaped(record, vector, source, row, vectors)
                except DocumentError as error:
                    self.faults.meet(error)

    def _shaped(
        self, record: dict[str, object], vector: Any, source: DocumentSource, row: int, vectors: bool
    ) -> MovedDocument:
        where = source.at(row)
        fields = self._flat(record)
        plain = {
            name: jsonable(value) if isinstance(value, uuid.UUID | Decimal) else value for name, value in fields.items()
        }
        id_field, document_id = id_of(plain, self.names, where, str(row - 1))  # what a database has beside strings
        text_field = self._text_field(record, fields, where)
        text = "" if text_field is None else string_of(fields, text_field, where)
        if self.need_text and not text.strip():
            known = f"field {text_field!r} is empty" if text_field else f"none of {', '.join(TEXTS)} is a field here"
            raise DocumentError(
                f"{where}: there is no text to embed (id {document_id!r}): {known}. Name the text with --text-field"
            )
        payload: dict[str, object] = {} if text_field is None else {TEXT: text}
        for name, value in fields.items():
            if name not in (id_field, text_field):
                payload[self._free(name, payload)] = jsonable(value)
        title_field = self.names.title or ""
        title = string_of(fields, title_field, where) if title_field in fields else ""
        made = MovedDocument(document_id, title, text, payload, source, row, TEXT)
        if vectors:
            made.vector = checked(vector, where, document_id)
        return made

    def _text_field(self, record: dict[str, object], fields: dict[str, object], where: str) -> str | None:
        if self.names.text and self.names.text not in fields:
            raise DocumentError(f"{where}: there is no field {self.names.text!r}; fields here: {', '.join(fields)}")
        return self.names.text or next((name for row in (record, fields) for name in TEXTS if name in row), None)

    def _flat(self, record: dict[str, object]) -> dict[str, object]:
        """The record with the fields of its metadata beside its own, which keep their names."""
        nested = {name: inside for name in NESTED if (inside := _object(record.get(name))) is not None}
        if not nested:
            return record
        fields = {name: value for name, value in record.items() if name not in nested}
        for inside in nested.values():
            self._open(inside, fields)
        return fields

    def _open(self, inside: dict[Any, object], fields: dict[str, object], level: int = 1) -> None:
        for name, value in inside.items():
            more = _object(value) if name in NESTED and level < LEVELS else None
            if more is None:
                fields[self._free(str(name), fields)] = value
            else:
                self._open(more, fields, level + 1)

    def _free(self, name: str, taken: dict[str, object]) -> str:
        """A name that is not another field's, and not that of the id."""
        free = name
        while free in taken or free in RESERVED:
            free = f"metadata_{free}"
        if free != name:
            self.renamed[name] = free
        return free


def _object(value: object) -> dict[Any, object] | None:
    """An object, also one that is written as JSON in a column of strings; None for anything else."""
    if isinstance(value, str) and value.startswith("{"):
        with suppress(ValueError, RecursionError):
            value = json.loads(value, parse_constant=lambda _name: None)
    return value if isinstance(value, dict) else None


def chosen(place: str, wanted: str | None, there: Names[str]) -> str:
    """The collection to read: the one that was named, or the only one. Raises MovingError."""
    if wanted is None and len(there) == 1:
        return next(iter(there))
    if wanted is not None and wanted in there:
        return wanted
    what = (
        "holds more than one collection" if wanted is None and there else f"holds no collection {wanted or ''}".strip()
    )
    names = ", ".join(sorted(there)[:20]) or "none"
    raise MovingError(f"{place} {what}; there are: {names}. Name one with --collection")


def checked(vector: Any, where: str, document_id: str) -> NDArray[np.float32]:
    """The vector as float32 (dim,). Raises DocumentError for one that cannot be ranked."""
    if vector is None:
        raise DocumentError(f"{where}: there is no vector (id {document_id!r})")
    try:
        with np.errstate(over="ignore"):
            made = np.asarray(vector, np.float32)
    except (TypeError, ValueError):
        raise DocumentError(f"{where}: the vector is not one of numbers (id {document_id!r})") from None
    if made.ndim != 1 or not made.size:
        raise DocumentError(f"{where}: the vector has the shape {made.shape}; one of numbers was expected")
    if not np.isfinite(made).all():
        raise DocumentError(f"{where}: the vector holds NaN or an infinity (id {document_id!r})")
    return made
