"""Filterable fields: declared as FIELD:TYPE, taken out of the payload, checked, stored as Arrow columns.

A value that does not have the declared type stops the build with its row, id and field: a filter over a column that is
half strings answers wrongly for ever after. A missing field and null are stored as null, which no filter matches.
"""

import datetime
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec
import pyarrow as pa

from index.errors import InputError


class Field(NamedTuple):
    name: str
    type: str


def _keyword(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _keywords(value: Any) -> list[str]:
    if not isinstance(value, list):
        raise TypeError
    return [_keyword(item) for item in value]


def _int(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not -(2**63) <= value < 2**63:
        raise TypeError
    return value


def _float(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise TypeError
    return float(value)


def _bool(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _date(value: Any) -> datetime.datetime:
    if not isinstance(value, str):
        raise TypeError
    moment = datetime.datetime.fromisoformat(value)
    return moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)


class _Type(NamedTuple):
    arrow: pa.DataType
    read: Callable[[Any], Any]
    expected: str


TYPES = {
    "keyword": _Type(pa.dictionary(pa.int32(), pa.string()), _keyword, "a string"),
    "keyword[]": _Type(pa.list_(pa.string()), _keywords, "a list of strings"),
    "int": _Type(pa.int64(), _int, "an integer of 64 bits"),
    "float": _Type(pa.float64(), _float, "a finite number"),
    "bool": _Type(pa.bool_(), _bool, "true or false"),
    "date": _Type(
        pa.timestamp("us", "UTC"), _date, "an ISO 8601 date or date-time as a string (UTC unless it has an offset)"
    ),
}


def parse_fields(declared: list[str] | tuple[str, ...]) -> list[Field]:
    """["lang:keyword", "year:int"] as fields. The last colon separates, so a name may hold colons."""
    fields = []
    for text in declared:
        name, _, type_ = text.rpartition(":")
        if not name or type_ not in TYPES:
            raise InputError(
                f"{text!r} does not declare a filterable field; expected FIELD:TYPE with a type of {', '.join(TYPES)}"
            )
        fields.append(Field(name, type_))
    names = [field.name for field in fields]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"field {name!r} is declared filterable twice")
    return fields


class ColumnReader:
    """Collects the declared fields row by row."""

    def __init__(self, fields: list[Field]) -> None:
        self._fields = fields
        self._chunks: list[list[Any]] = [[] for _ in fields]

    def take(self, payload: list[bytes], ids: list[Any], first_row: int) -> None:
        objects = [msgspec.json.decode(raw) for raw in payload]
        for field, chunks in zip(self._fields, self._chunks, strict=True):
            type_ = TYPES[field.type]
            values = []
            for row, content in enumerate(objects):
                value = content.get(field.name)
                try:
                    values.append(None if value is None else type_.read(value))
                except (TypeError, ValueError) as error:
                    raise InputError(
                        f"row {first_row + row} (id {ids[row]!r}): field {field.name!r} is {value!r}, "
                        f"expected {type_.expected}, as declared by {field.name}:{field.type}"
                    ) from error
            chunks.append(pa.array(values, type_.arrow))

    def table(self) -> pa.Table:
        columns = [
            _chunked(chunks, TYPES[field.type].arrow) for field, chunks in zip(self._fields, self._chunks, strict=True)
        ]
        table = pa.table(columns, names=[field.name for field in self._fields])
        return table.unify_dictionaries().combine_chunks()


def _chunked(chunks: list[Any], type_: Any) -> Any:
    return pa.chunked_array(chunks, type=type_)
