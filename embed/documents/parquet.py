"""Parquet: read a thousand rows at a time, so that memory does not follow the size of a row group.

Values without a JSON form are given the one a reader would expect: dates, times and decimals as
strings (a decimal as a float would lose digits), bytes as base64, NaN and infinities as null, maps
with string keys as objects. An id, a text or a title is read as UTF-8 where a writer left it as bytes."""

import base64
import datetime
import decimal
import math
import uuid
from collections.abc import Iterator, Mapping
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from embed.documents.document import (
    ID_FIELDS,
    TEXT_FIELD,
    TITLE_FIELD,
    Document,
    DocumentError,
    DocumentSource,
    Faults,
    FieldNames,
    UnreadableInputError,
    shape,
)

BATCH_ROWS = 1024


def read_parquet(stream: BinaryIO, source: DocumentSource, names: FieldNames, faults: Faults) -> Iterator[Document]:
    """The documents of the file, in order; row numbers are 1-based over the whole file."""
    piece = source.piece
    row = piece.rows if piece else 0
    groups = list(range(*piece.groups)) if piece and piece.groups else None
    try:
        # Unbuffered row groups would be held whole; 1 MiB pages of each column are enough to fill a
        # batch.
        table = pq.ParquetFile(stream, pre_buffer=False, buffer_size=1 << 20)
        total = max(1, table.metadata.num_rows)
        for batch in table.iter_batches(batch_size=BATCH_ROWS, row_groups=groups):
            for record in exact(batch).to_pylist():
                row += 1
                source.done_bytes = source.size_bytes * row // total
                try:
                    plain = _decoded(record, names, source.at(row))
                    yield shape({key: jsonable(value) for key, value in plain.items()}, names, source, row)
                except DocumentError as error:
                    faults.meet(error)
    except (pa.ArrowException, OSError, ValueError) as error:
        after = f" after row {row}" if row else ""
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UnreadableInputError(f"{source.name}: cannot be read as Parquet{after}: {reason}") from error


def _decoded(record: Mapping[str, object], names: FieldNames, where: str) -> dict[str, object]:
    """The record with its id, text and title as strings where they are bytes. Raises DocumentError for other bytes."""
    read = {*((names.id,) if names.id else ID_FIELDS), names.text or TEXT_FIELD, names.title or TITLE_FIELD}
    plain = dict(record)
    for name in read & plain.keys():
        value = plain[name]
        if isinstance(value, bytes):
            try:
                plain[name] = value.decode()
            except UnicodeDecodeError as error:
                raise DocumentError(f"{where}: field {name!r} holds bytes that are not UTF-8: {error.reason}") from None
    return plain


def jsonable(value: object) -> object:
    """The value as json.dumps can write it; what is lost is said at the top of this file."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list):
        # A map column arrives as a list of pairs.
        if value and all(isinstance(item, tuple) and len(item) == 2 and isinstance(item[0], str) for item in value):
            return {key: jsonable(item) for key, item in value}
        return [jsonable(item) for item in value]
    if isinstance(value, tuple):
        return [jsonable(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, datetime.datetime | datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, decimal.Decimal | uuid.UUID):
        return str(value)
    return str(value)


def exact(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Nanoseconds, which Python's datetime cannot hold, as strings with all nine digits."""
    for index, column in enumerate(batch.schema):
        if pa.types.is_timestamp(column.type) and column.type.unit == "ns":
            batch = batch.set_column(index, column.name, batch.column(index).cast(pa.string()))
    return batch
