"""Filterable fields: declared as FIELD:TYPE, taken out of the payload, checked, stored as Arrow columns.

A value that does not have the declared type stops the build with its row, id and field: a filter over a column that is
half strings answers wrongly for ever after. CSV knows only strings, so a string is read as the number, truth or moment
that was declared. A missing field, null and a blank string where none can be meant are stored as null; what a filter
makes of them is said in filtering.py. FIELD alone is given a type by field_inference.py.

Keywords are numbered by their place in the sorted vocabulary of the field, so that columns and postings (postings.py)
hold integers only.
"""

import re
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
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
_WHOLE = re.compile(r"[+-]?\d{1,40}(?:\.0*)?", re.ASCII)
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_TRUTHS = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}
_MOST_NAMES = 50  # of fields that there are, told to who misspelt one


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


def _compared_int(value: Any) -> int:
    """2001.0 is the integer 2001 to JSON, as it is to a language of one kind of number."""
    return read_int(int(value) if isinstance(value, float) and value.is_integer() else value)


def read_float(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= sys.float_info.max:
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


def _whole(value: Any) -> Any:
    """An integer from what has no integers: a CSV file, or a column of floats because of its missing values."""
    if isinstance(value, str) and _WHOLE.fullmatch(value):
        return int(value.partition(".")[0])
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 2**53 else value


def _number(value: Any) -> Any:
    return float(value) if isinstance(value, str) and _NUMBER.fullmatch(value) else value


def _truth(value: Any) -> Any:
    return _TRUTHS.get(value.lower(), value) if isinstance(value, str) else value


def _stored(convert: Callable[[Any], Any], read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Reads a row's value, which may be a string of one, padded; blank: None."""

    def read_stored(value: Any) -> Any:
        if isinstance(value, str):
            value = value.strip()
            if not value:
                return None
        return read(convert(value))

    return read_stored


class Type(NamedTuple):
    """`read` takes a row's JSON value, `read_one` what a filter compares with; TypeError or ValueError refuse it."""

    arrow: pa.DataType
    read: Callable[[Any], Any]
    read_one: Callable[[Any], Any]
    expected: str
    expected_one: str


def _type(arrow: pa.DataType, convert: Callable[[Any], Any], read: Callable[[Any], Any], expected: str) -> Type:
    return Type(arrow, _stored(convert, read), read, f"{expected}, or a string of one", expected)


_STRING, _DATE_STRING = "a string", "an RFC 3339 date or date-time as a string (UTC unless it has an offset)"
_LIST = "a list of strings (CSV has none; JSON Lines and Parquet do)"
_NUMBERED = pa.dictionary(pa.int32(), pa.large_string())
TYPES = {
    "keyword": Type(_NUMBERED, read_keyword, read_keyword, _STRING, _STRING),
    "keyword[]": Type(pa.list_(_NUMBERED), _keywords, read_keyword, _LIST, _STRING),
    "int": _type(pa.int64(), _whole, read_int, "an integer of 64 bits")._replace(read_one=_compared_int),
    "float": _type(pa.float64(), _number, read_float, "a finite number"),
    "bool": _type(pa.bool_(), _truth, read_bool, "true or false"),
    "date": Type(
        pa.timestamp("us", "UTC"), _stored(lambda value: value, read_date), read_date, _DATE_STRING, _DATE_STRING
    ),
}
# As they are collected: words, not yet numbers of words.
_PLAIN = {"keyword": pa.large_string(), "keyword[]": pa.list_(pa.large_string())}


def parse_fields(declared: Sequence[str | Field]) -> list[Field]:
    """["lang:keyword,year:int", "draft"] as fields, the last one's type still open; a Field is taken as it is.

    Commas separate declarations, and the last colon a name from its type, so a name may hold colons and no comma.
    """
    fields = [field for field in declared if isinstance(field, Field)]
    texts = [part.strip() for parts in declared if not isinstance(parts, Field) for part in parts.split(",")]
    for text in texts:
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


class Names:
    """Which of some fields no row has had so far, and while there is one, which fields the rows do have."""

    def __init__(self, fields: Iterable[str], seen: Iterable[str] = ()) -> None:
        self.unseen = set(fields)
        self.seen: dict[str, None] = dict.fromkeys(seen)

    def take(self, rows: Iterable[Mapping[str, Any]]) -> None:
        for row in rows if self.unseen else ():
            self.unseen.difference_update(row)
            self.seen.update(dict.fromkeys(row))

    def add(self, other: "Names") -> None:
        """What those rows lack too that `other` was taken of."""
        self.unseen &= other.unseen
        self.seen |= other.seen

    def missing(self, name: str) -> InputError:
        seen = [repr(each) for each in list(self.seen)[:_MOST_NAMES]] or ["none"]
        more = " …" if len(self.seen) > _MOST_NAMES else ""
        return InputError(
            f"no row has a field {name!r}, which was declared filterable; the fields there are: "
            f"{', '.join(seen)}{more}. Is it spelt as in the documents?"
        )


class ColumnReader:
    """Collects the declared fields row by row."""

    def __init__(self, fields: list[Field]) -> None:
        self._fields = fields
        self._chunks: list[list[Any]] = [[] for _ in fields]
        self._names = Names(field.name for field in fields)

    def take(self, payload: Sequence[bytes], ids: Sequence[Any], rows: Sequence[int]) -> None:
        """rows: which of the input they were, for errors."""
        objects = [msgspec.json.decode(raw) for raw in payload]
        self._names.take(objects)
        for field, chunks in zip(self._fields, self._chunks, strict=True):
            type_ = TYPES[field.type]
            values = []
            for row, content in enumerate(objects):
                value = content.get(field.name)
                try:
                    values.append(None if value is None else type_.read(value))
                except (TypeError, ValueError) as error:
                    raise InputError(
                        f"row {rows[row]} (id {ids[row]!r}): field {field.name!r} is {value!r}, "
                        f"expected {type_.expected}, as declared by {field.name}:{field.type}"
                    ) from error
            chunks.append(_plain(values, field.type))

    def check_seen(self, required: Collection[str]) -> None:
        """Raises InputError for a field of these that no row has, not even as null: most likely it is misspelt."""
        for name in sorted(self._names.unseen.intersection(required)):
            raise self._names.missing(name)

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
