"""Filterable fields: declared as FIELD:TYPE, taken out of the payload, checked, stored as Arrow columns.

A value that does not have the declared type stops the build with its row, id and field: a filter over a column that is
half strings answers wrongly for ever after. A missing field and null are stored as null; what a filter makes of them
is said in filtering.py. FIELD alone is given the narrowest type that all its values have.

Keywords are numbered by their place in the sorted vocabulary of the field, so that columns and postings (postings.py)
hold integers only.
"""

import math
import re
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa

from index.errors import InputError

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
# RFC 3339, with the offset optional: without one a time is in UTC. Python alone would also take week dates.
_DATE = re.compile(r"\d{4}-\d\d-\d\d(?:[Tt ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:[Zz]|[+-]\d\d:\d\d)?)?", re.ASCII)


class Field(NamedTuple):
    """type: one of TYPES; "" until it is inferred."""

    name: str
    type: str


def read_keyword(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    value.encode()  # half a surrogate pair is not a string: ValueError
    return value


def _keywords(value: Any) -> list[str]:
    if not isinstance(value, list):
        raise TypeError
    return [read_keyword(item) for item in value]


def read_int(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not -(2**63) <= value < 2**63:
        raise TypeError
    return value


def read_float(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise TypeError
    return float(value)


def read_bool(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def read_date(value: Any) -> int:
    """Microseconds since 1970 in UTC; what is finer is cut off."""
    if not isinstance(value, str) or not _DATE.fullmatch(value):
        raise TypeError
    moment = datetime.fromisoformat(value.upper())
    return ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _EPOCH) // _MICROSECOND


class Type(NamedTuple):
    """`read` takes a row's JSON value, `read_one` what a filter compares with; TypeError or ValueError refuse it."""

    arrow: pa.DataType
    read: Callable[[Any], Any]
    read_one: Callable[[Any], Any]
    expected: str
    expected_one: str


_STRING, _DATE_STRING = "a string", "an RFC 3339 date or date-time as a string (UTC unless it has an offset)"
_NUMBERED = pa.dictionary(pa.int32(), pa.large_string())
TYPES = {
    "keyword": Type(_NUMBERED, read_keyword, read_keyword, _STRING, _STRING),
    "keyword[]": Type(pa.list_(_NUMBERED), _keywords, read_keyword, "a list of strings", _STRING),
    "int": Type(pa.int64(), read_int, read_int, "an integer of 64 bits", "an integer of 64 bits"),
    "float": Type(pa.float64(), read_float, read_float, "a finite number", "a finite number"),
    "bool": Type(pa.bool_(), read_bool, read_bool, "true or false", "true or false"),
    "date": Type(pa.timestamp("us", "UTC"), read_date, read_date, _DATE_STRING, _DATE_STRING),
}
# As they are collected: words, not yet numbers of words.
_PLAIN = {"keyword": pa.large_string(), "keyword[]": pa.list_(pa.large_string())}
# Narrowest first: a type holds for a field when it holds for every value. A date is a keyword too, an int a float.
_INFERRED = ("bool", "int", "float", "date", "keyword", "keyword[]")


def parse_fields(declared: Sequence[str]) -> list[Field]:
    """["lang:keyword,year:int", "draft"] as fields, the last one's type still open.

    Commas separate declarations, and the last colon a name from its type, so a name may hold colons and no comma.
    """
    fields = []
    for text in [part for parts in declared for part in parts.split(",")]:
        name, colon, type_ = text.rpartition(":")
        if not colon:
            name, type_ = text, ""
        if not name or (type_ not in TYPES and colon):
            raise InputError(
                f"{text!r} does not declare a filterable field; expected FIELD:TYPE with a type of {', '.join(TYPES)}, "
                "or FIELD alone to have the type inferred"
            )
        fields.append(Field(name, type_))
    names = [field.name for field in fields]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"field {name!r} is declared filterable twice")
    return fields


def infer_types(fields: Sequence[Field], batches: Iterable[Sequence[bytes]]) -> list[Field]:
    """The fields with their types: those declared without one get the narrowest that fits all of the payload.

    Raises InputError for a field that no type fits, or that no row has.
    """
    possible = {field.name: list(_INFERRED) for field in fields if not field.type}
    if not possible:
        return list(fields)
    seen = set()
    for payload in batches:
        for raw in payload:
            content = msgspec.json.decode(raw)
            for name, types in possible.items():
                value = content.get(name)
                if value is None:
                    continue
                seen.add(name)
                types[:] = [type_ for type_ in types if _holds(type_, value)]
                if not types:
                    raise InputError(
                        f"field {name!r} has no one type: {value!r} does not fit what came before it. Declare it as "
                        f"{name}:TYPE to be told the row, or make its values alike"
                    )
    for name in possible:
        if name not in seen:
            raise InputError(f"no row has a field {name!r} to infer a type from; is it spelt as in the payload?")
    return [Field(field.name, field.type or possible[field.name][0]) for field in fields]


def _holds(type_: str, value: Any) -> bool:
    try:
        TYPES[type_].read(value)
    except (TypeError, ValueError):
        return False
    return True


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
            chunks.append(_plain(values, field.type))

    def table(self) -> pa.Table:
        """One chunk a column; the vocabularies of keywords sorted bytewise."""
        columns = [
            _finished(pa.concat_arrays(chunks), field.type)
            for field, chunks in zip(self._fields, self._chunks, strict=True)
        ]
        return pa.table(columns, names=[field.name for field in self._fields])


def column_of(values: Sequence[Any], type_: str) -> Any:
    """An Arrow column of values as `Type.read` gives them, None for no value; keywords as in `ColumnReader.table`."""
    return _finished(_plain(values, type_), type_)


def _plain(values: Sequence[Any], type_: str) -> Any:
    return pa.array(values, _PLAIN.get(type_, TYPES[type_].arrow))


def _finished(array: Any, type_: str) -> Any:
    if type_ == "keyword":
        return _numbered(array)
    if type_ == "keyword[]":
        gone = array.is_null() if array.null_count else None
        return pa.ListArray.from_arrays(array.offsets, _numbered(array.values), mask=gone)
    return array


def _numbered(words: Any) -> Any:
    encoded = words.dictionary_encode()
    order = np.array(sorted(range(len(encoded.dictionary)), key=_bytes_of(encoded.dictionary)), np.int32)
    place = np.empty(len(order), np.int32)
    place[order] = np.arange(len(order), dtype=np.int32)
    numbers = encoded.indices
    given = numbers.fill_null(0).to_numpy(zero_copy_only=False).astype(np.int32)
    moved = place[given] if len(order) else np.zeros(len(given), np.int32)
    gone = numbers.is_null().to_numpy(zero_copy_only=False)
    return pa.DictionaryArray.from_arrays(
        pa.array(moved, pa.int32(), mask=gone), encoded.dictionary.take(pa.array(order))
    )


def _bytes_of(words: Any) -> Callable[[int], bytes]:
    encoded = [word.encode() for word in words.to_pylist()]
    return encoded.__getitem__
