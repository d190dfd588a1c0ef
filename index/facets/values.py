"""The most frequent values of a field.

Rows lie in parts, a generation and what was written since, each with a vocabulary of its own. Counts of the first part
are an array by the numbers of its words. The words of the others are looked up there, and those that it does not have
are counted by themselves; so what a count costs grows with the rows, and strings are only made of the few that are
named.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from index.search.bitmap import Bitmap
from index.search.fields.conditions import Flags, Numbers, Words
from index.search.filtering import Filters

Parts = Sequence[tuple[Filters, Bitmap | None]]  # columns, and which of their rows are counted; None: all


class Counted(NamedTuple):
    """
    Args:
        best: (value, documents), the most frequent first, ties by value (words: by their bytes). Dates are
            microseconds since 1970.
        distinct: how many values there are.
    """

    best: list[tuple[Any, int]]
    distinct: int


def count_values(parts: Parts, name: str, top: int) -> Counted:
    """The `top` most frequent values of a declared field. A document whose list holds a word twice counts once."""
    first = parts[0][0].columns[name]
    if isinstance(first, Words):
        return _words(parts, name, top)
    if isinstance(first, Flags):
        held = [(column.counts(keep)) for column, keep in _columns(parts, name, Flags)]
        counts = {value: sum(each[value] for each in held) for value in (True, False)}
        there = sorted(((value, count) for value, count in counts.items() if count), key=lambda pair: -pair[1])
        return Counted(there[:top], len(there))
    values = kept_numbers(parts, name)
    starts = np.flatnonzero(np.concatenate([[True], values[1:] != values[:-1]])) if len(values) else np.zeros(0, int)
    numbers = np.diff(np.append(starts, len(values)))
    best = _most(numbers, top)
    return Counted([(values[starts[place]].item(), int(numbers[place])) for place in best.tolist()], len(starts))


def count_present(parts: Parts, name: str) -> int:
    """Documents that have a value."""
    total = 0
    for filters, keep in parts:
        column = filters.columns[name]
        total += column.present_count if keep is None else (keep & Bitmap(column.present(), keep.size)).count
    return total


def kept_numbers(parts: Parts, name: str) -> NDArray[Any]:
    """The values of a field of numbers or dates, ascending; there is no -0.0 among them, which equals 0.0."""
    held = [column.kept(keep) for column, keep in _columns(parts, name, Numbers)]
    values = held[0] if len(held) == 1 else np.sort(np.concatenate(held), kind="stable")
    return values + 0.0 if values.dtype == np.float64 else values


def _words(parts: Parts, name: str, top: int) -> Counted:
    (first, keep), *others = _columns(parts, name, Words)
    counts, more = first.counts(keep).astype(np.int64), Counter[str]()
    for column, kept in others:
        held = column.counts(kept)
        there = np.flatnonzero(held)
        words = column.vocabulary.take(pa.array(there))
        for word, number, count in zip(words, first.numbers_of_all(words), held[there].tolist(), strict=True):
            if number is None:
                more[word.as_py()] += count
            else:
                counts[number] += count
    best = [(first.word(number), int(counts[number])) for number in _most(counts, top).tolist()]
    best = sorted([*best, *more.items()], key=lambda pair: (-pair[1], pair[0].encode()))[:top]
    return Counted(best, int(np.count_nonzero(counts)) + len(more))


def _most(counts: NDArray[np.int64], top: int) -> NDArray[np.int64]:
    """Places of the largest counts above 0, the largest first, ties by place."""
    places = np.flatnonzero(counts)
    held = counts[places]
    if len(places) > top:  # only the best are sorted, with all of the tie that lies across the end
        least = np.partition(held, len(held) - top)[len(held) - top]
        places, held = places[held >= least], held[held >= least]
    return places[np.argsort(-held, kind="stable")[:top]]


def _columns(parts: Parts, name: str, kind: Any) -> list[tuple[Any, Bitmap | None]]:
    columns = [(filters.columns[name], keep) for filters, keep in parts]
    assert all(isinstance(column, kind) for column, _ in columns)  # all parts have the fields of their generation
    return columns
