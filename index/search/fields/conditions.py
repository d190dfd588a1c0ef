"""From a condition on one field to a bitmap of rows.

A condition that few rows meet is answered from the postings: find the place by bisection, set those bits. One that many
meet is answered from the column, which is then read once from end to end, with no scattered writes. A sixteenth of all
rows is about where the two cost the same. Over a million rows a word held by 100 takes some 20 µs, and a range that
holds half of them 0.7 ms (index/bench/filters.py).
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from index.search.bitmap import Bitmap

MANY = 16  # one row in so many
FEW = 4096  # rows whose bits are set one by one; more go through an array of bools
TOP_VALUES = 50  # words that are described, the most frequent ones

Bits = NDArray[np.uint8]  # (⌈n / 8⌉,), a row's bit from the lowest on


class Column:
    """A field that filters may use. Conditions give Bits; a row without a value meets none of them."""

    def __init__(self, name: str, type_: str, count: int, array: Any) -> None:
        self.name, self.type, self._count, self._array = name, type_, count, array
        self._valid: Bits | None = None
        if array.null_count:
            self._valid = buffer_of(array, 0, np.uint8, -(-count // 8))
        self.present_count = count - array.null_count

    def present(self) -> Bits:
        """Rows that have a value; an empty list is one."""
        if self._valid is not None:
            return self._valid
        return np.full(-(-self._count // 8), 255, np.uint8)

    def holds(self, row: int) -> bool:
        """Whether a row has a value."""
        return self._valid is None or bool(self._valid[row >> 3] >> (row & 7) & 1)

    def value(self, row: int) -> Any:
        """What a row holds, as `Type.read` gives it; None for no value."""
        scalar = self._array[row]
        return scalar.value if self.type == "date" else scalar.as_py()

    def one_of(self, values: Sequence[Any]) -> Bits:
        """Rows with one of the values, which are as `Type.read_one` gives them."""
        raise NotImplementedError

    def between(self, low: Any, high: Any, *, above: bool, below: bool) -> Bits:
        """Rows from low to high, None for no bound; `above` leaves out low itself and `below` high."""
        raise TypeError

    def describe(self) -> dict[str, Any]:
        """What a form for filters needs to know."""
        return {"type": self.type, "present": self.present_count}

    def _bits(self, rows: NDArray[Any]) -> Bits:
        if len(rows) <= FEW:
            packed = np.zeros(-(-self._count // 8), np.uint8)
            np.bitwise_or.at(packed, rows >> 3, (1 << (rows & 7)).astype(np.uint8))
            return packed
        flags = np.zeros(self._count, np.bool_)
        flags[rows] = True
        return np.packbits(flags, bitorder="little")

    def _valid_only(self, flags: NDArray[np.bool_]) -> Bits:
        packed = np.packbits(flags, bitorder="little")
        return packed if self._valid is None else packed & self._valid


class Words(Column):
    """keyword and keyword[]. `numbers` of the former: each row's word, −1 for none."""

    def __init__(self, name: str, type_: str, array: Any, rows: NDArray[np.int32], starts: NDArray[np.int64]) -> None:
        super().__init__(name, type_, len(array), array)
        words = array.values if type_ == "keyword[]" else array
        self.vocabulary = words.dictionary  # sorted bytewise; the buffers below are its own
        self.words = len(self.vocabulary)
        offsets, data = self.vocabulary.buffers()[1:] if self.words else (None, None)
        self._ends = memoryview(offsets).cast("B").cast("q") if offsets is not None else memoryview(b"")
        self._data = memoryview(data) if data is not None else memoryview(b"")
        self._rows, self._starts = rows, starts
        self._numbers = None if type_ == "keyword[]" else buffer_of(array.indices, 1, np.int32, len(array))

    def number_of(self, word: str) -> int | None:
        """The word's place in the sorted vocabulary."""
        wanted = word.encode()
        place = bisect_left(range(self.words), wanted, key=self._word)
        return place if place < self.words and self._word(place) == wanted else None

    def word(self, number: int) -> str:
        return self._word(number).decode()

    def rows_of(self, number: int) -> NDArray[np.int32]:
        """Rows that hold a word, ascending. A view."""
        return self._rows[self._starts[number] : self._starts[number + 1]]

    def numbers_at(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """The word of each row, −1 for none; keyword only."""
        if self._numbers is None:
            raise TypeError
        numbers = self._numbers[rows].astype(np.int64)
        if self._valid is not None:
            numbers[(self._valid[rows >> 3] >> (rows & 7).astype(np.uint8)) & 1 == 0] = -1
        return numbers

    def one_of(self, values: Sequence[str]) -> Bits:
        return self.holding(self.numbers_of(values))

    def numbers_of(self, values: Sequence[str]) -> list[int]:
        """Those of the words that some row holds, ascending."""
        return sorted({number for word in values if (number := self.number_of(word)) is not None})

    def holding(self, numbers: Sequence[int]) -> Bits:
        held = sum(int(self._starts[number + 1] - self._starts[number]) for number in numbers)
        if self._numbers is not None and held > self._count // MANY:
            if len(numbers) == 1:
                return self._valid_only(self._numbers == numbers[0])
            wanted = np.zeros(self.words, np.bool_)
            wanted[list(numbers)] = True
            return self._valid_only(wanted[self._numbers])
        if not numbers:
            return self._bits(np.zeros(0, np.int32))
        return self._bits(np.concatenate([self.rows_of(number) for number in numbers]))

    def counts(self, keep: Bitmap | None) -> NDArray[np.int64]:
        """How many of the rows in `keep` (None: of all) hold each word, (words,)."""
        if keep is None:
            return np.diff(self._starts)
        if self._numbers is not None and keep.count <= self._count // MANY:
            numbers = self.numbers_at(keep.rows)
            return np.bincount(numbers[numbers >= 0], minlength=self.words)
        kept = np.zeros(len(self._rows) + 1, np.int64)
        np.cumsum(keep.flags()[self._rows], out=kept[1:])
        return np.diff(kept[self._starts])

    def numbers_of_all(self, words: Any) -> list[int | None]:
        """As `number_of`, of an Arrow array of many."""
        if len(words) * MANY < self.words:
            return [self.number_of(word) for word in words.to_pylist()]
        found: list[int | None] = pc.index_in(words, value_set=self.vocabulary).to_pylist()
        return found

    def describe(self) -> dict[str, Any]:
        held = np.diff(self._starts)
        best = np.argsort(-held, kind="stable")[:TOP_VALUES].tolist()
        values = [{"value": self.word(number), "count": int(held[number])} for number in best]
        return super().describe() | {"distinct": self.words, "values": values}

    def _word(self, number: int) -> bytes:
        return bytes(self._data[self._ends[number] : self._ends[number + 1]])


class Numbers(Column):
    """int, float and date, the last in microseconds since 1970."""

    def __init__(self, name: str, type_: str, array: Any, rows: NDArray[np.int32]) -> None:
        super().__init__(name, type_, len(array), array)
        self.values: NDArray[Any] = buffer_of(array, 1, np.float64 if type_ == "float" else np.int64, len(array))
        self._rows = rows
        self._value: Callable[[int], Any] = self.values.data.__getitem__

    def one_of(self, values: Sequence[Any]) -> Bits:
        parts = [self._rows[slice(*self._places(value, value, above=False, below=False))] for value in set(values)]
        return self._bits(np.concatenate(parts)) if parts else self._bits(np.zeros(0, np.int32))

    def between(self, low: Any, high: Any, *, above: bool, below: bool) -> Bits:
        start, stop = self._places(low, high, above=above, below=below)
        if stop - start <= self._count // MANY:
            return self._bits(self._rows[start:stop])
        flags = np.ones(self._count, np.bool_)
        if low is not None:
            flags = self.values > low if above else self.values >= low
        if high is not None:
            flags &= self.values < high if below else self.values <= high
        return self._valid_only(flags)

    def kept(self, keep: Bitmap | None) -> NDArray[Any]:
        """What the rows in `keep` (None: all) hold, ascending."""
        if keep is None:
            return self.values[self._rows]
        if keep.count <= self._count // MANY:
            rows = keep.rows
            if self._valid is not None:
                rows = rows[(self._valid[rows >> 3] >> (rows & 7).astype(np.uint8)) & 1 == 1]
            return np.sort(self.values[rows])
        return self.values[self._rows[keep.flags()[self._rows]]]

    def describe(self) -> dict[str, Any]:
        ends = {}
        if len(self._rows):
            least, most = self._value(int(self._rows[0])), self._value(int(self._rows[-1]))
            ends = {"min": self._shown(least), "max": self._shown(most)}
        return super().describe() | ends

    def _shown(self, value: Any) -> Any:
        if self.type != "date":
            return value
        whole, _, fraction = str(np.datetime64(value, "us")).partition(".")
        fraction = fraction.rstrip("0")  # a filter with what is shown keeps the row that has it
        return f"{whole}.{fraction}Z" if fraction else f"{whole}Z"

    def _places(self, low: Any, high: Any, *, above: bool, below: bool) -> tuple[int, int]:
        """Where the rows from low to high begin and end among those sorted by value."""
        start, stop = 0, len(self._rows)
        rows: Any = self._rows.data

        def key(row: int) -> Any:
            return self._value(row)

        if low is not None:
            start = (bisect_right if above else bisect_left)(rows, low, key=key)
        if high is not None:
            stop = (bisect_left if below else bisect_right)(rows, high, key=key)
        return start, max(start, stop)


class Flags(Column):
    """bool: its column is a bitmap already."""

    def __init__(self, name: str, type_: str, array: Any) -> None:
        super().__init__(name, type_, len(array), array)
        self.set = buffer_of(array, 1, np.uint8, -(-len(array) // 8))

    def one_of(self, values: Sequence[bool]) -> Bits:
        met = np.zeros(-(-self._count // 8), np.uint8)
        for value in set(values):
            met |= (self.set if value else ~self.set) & self.present()
        return met

    def counts(self, keep: Bitmap | None) -> dict[bool, int]:
        """How many of the rows in `keep` (None: of all) hold each truth."""
        held = (Bitmap(self.one_of([value]), self._count) for value in (True, False))
        true, false = (each.count if keep is None else (each & keep).count for each in held)
        return {True: true, False: false}

    def describe(self) -> dict[str, Any]:
        held = self.counts(None)
        return super().describe() | {"values": [{"value": value, "count": count} for value, count in held.items()]}


def buffer_of(array: Any, which: int, dtype: Any, length: int) -> NDArray[Any]:
    """One of an array's Arrow buffers as `length` numbers; the array has no offset."""
    buffer = array.buffers()[which]
    if array.offset:
        raise ValueError("an Arrow array begins in the middle of its buffer")
    return np.frombuffer(buffer, dtype, length) if length else np.zeros(0, dtype)
