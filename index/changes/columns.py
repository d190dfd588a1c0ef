"""Filters over the changes: the values that were put, in parts that are each a small generation's columns.

A condition is answered by the same code as in a generation (search/fields/conditions.py), so both mean the same. Rows
only ever come at the end. The last ones lie in a part that is made anew when it is asked; once there are SEALED of them
they stay as they are, and equal parts are joined in fours, so that each row is moved a few times and a filter looks at
few parts.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from index.errors import InputError
from index.search.bitmap import Bitmap
from index.search.fields.columns import TYPES, column_of
from index.search.fields.postings import columns_of, postings_of
from index.search.filtering import Filter, Filters

SEALED, JOINED = 512, 4
_OBJECT = msgspec.json.Decoder(dict[str, Any])


class ColumnPart(NamedTuple):
    """Rows from `start` on."""

    start: int
    filters: Filters


class ChangedColumns:
    """The declared fields of the rows that were put. One thread adds; snapshots may be used by any."""

    def __init__(self, fields: Mapping[str, str]) -> None:
        self.fields = dict(fields)
        self.values: dict[str, list[Any]] = {name: [] for name in fields}
        self.misfits = 0  # values that were taken before their field was declared with this type; they count as missing
        self._sealed: list[ColumnPart] = []
        self._count = 0

    def add(self, payload: bytes) -> None:
        content = _OBJECT.decode(payload) if self.fields else {}
        for name, type_ in self.fields.items():
            value = content.get(name)
            try:
                self.values[name].append(None if value is None else TYPES[type_].read(value))
            except (TypeError, ValueError):
                self.values[name].append(None)
                self.misfits += 1
        self._count += 1
        if self.fields and self._count % SEALED == 0:
            self._seal()

    def snapshot(self) -> "ColumnsSnapshot":
        return ColumnsSnapshot(self, tuple(self._sealed), self._count)

    def part(self, start: int, stop: int) -> ColumnPart:
        table = pa.table({name: column_of(self.values[name][start:stop], type_) for name, type_ in self.fields.items()})
        return ColumnPart(start, Filters(columns_of(table, postings_of(table), self.fields), stop - start))

    def _seal(self) -> None:
        self._sealed.append(self.part(self._count - SEALED, self._count))
        while len(self._sealed) >= JOINED:
            sizes = {part.filters.count for part in self._sealed[-JOINED:]}
            if len(sizes) > 1:
                return
            start = self._sealed[-JOINED].start
            self._sealed[-JOINED:] = [self.part(start, self._count)]


class ColumnsSnapshot:
    """The columns of the first `count` rows, whatever is added later."""

    def __init__(self, columns: ChangedColumns, sealed: tuple[ColumnPart, ...], count: int) -> None:
        self._columns, self._sealed, self.count = columns, sealed, count
        self._tail: ColumnPart | None = None

    def bits(self, filter_: Filter) -> NDArray[np.uint8]:
        """The rows that survive a filter, a bit each from the lowest on, uint8 (⌈count / 8⌉,). Raises as
        `Filters.bitmap`."""
        return self._joined(lambda filters: filters.bitmap(filter_).words.view(np.uint8))

    def one_of(self, name: str, values: Sequence[Any]) -> NDArray[np.uint8]:
        """The rows of which a field holds one of the values, as `bits` gives them."""
        return self._joined(lambda filters: filters.columns[name].one_of(values))

    def kept(self, keep: Bitmap) -> list[tuple[Filters, Bitmap | None]]:
        """The parts, each with those of its rows that `keep` (count,) has."""
        packed = keep.words.view(np.uint8)
        sizes = ((part, part.start // 8, -(-part.filters.count // 8)) for part in self._parts())
        return [(part.filters, Bitmap(packed[first : first + size], part.filters.count)) for part, first, size in sizes]

    def value(self, name: str, row: int) -> Any:
        """As `Type.read` gives it, None for none."""
        return self._columns.values[name][row]

    def _joined(self, of_part: Callable[[Filters], NDArray[np.uint8]]) -> NDArray[np.uint8]:
        packed = np.zeros(-(-self.count // 8), np.uint8)
        for part in self._parts():
            kept = of_part(part.filters)
            first = part.start // 8  # parts begin at multiples of SEALED
            packed[first : first + len(kept)] = kept[: len(packed) - first]
        return packed

    def _parts(self) -> tuple[ColumnPart, ...]:
        start = self._sealed[-1].start + self._sealed[-1].filters.count if self._sealed else 0
        if start == self.count:
            return self._sealed
        if self._tail is None:
            self._tail = self._columns.part(start, self.count)
        return (*self._sealed, self._tail)


def check_payload(payload: bytes, fields: Mapping[str, str]) -> None:
    """Raises InputError for a payload that is no JSON object, or has a declared field of another type."""
    try:
        content = _OBJECT.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"the payload is not a JSON object: {error}") from error
    for name, type_ in fields.items():
        value = content.get(name)
        if value is None:
            continue
        try:
            TYPES[type_].read(value)
        except (TypeError, ValueError):
            raise InputError(
                f"field {name!r} is {str(value)[:80]!r}, expected {TYPES[type_].expected}, as declared by "
                f"{name}:{type_}"
            ) from None
