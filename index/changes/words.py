"""BM25 over the changes, scored as the generation scores its own rows.

The words of a text are those that the generation's analysis finds, and the statistics (how many documents hold a word,
how many there are, how long they are on average) are the generation's: they stay as they are until the changes are
folded into the next one, so a document scores the same before and after it was rewritten with the same text. A word
that no document of the generation holds counts the changes that hold it.

The formula is tantivy's, BM25 with k1 = 1.2 and b = 0.75 and the length of a text rounded down to one of 256
(fieldnorm, as in Lucene). All of it is float32, as there, so that equal texts have equal scores.
"""

import math
from array import array
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

K1, B = np.float32(1.2), np.float32(0.75)
_ONE, _HALF = np.float32(1), np.float32(0.5)


def _lengths() -> list[int]:
    """Lucene's SmallFloat.byte4ToInt: exact below 40, then three bits of mantissa."""
    exact = 24
    found = list(range(exact))
    for number in range(256 - exact):
        bits, shift = number & 7, (number >> 3) - 1
        found.append(exact + (bits if shift < 0 else (bits | 8) << shift))
    return found


LENGTHS = _lengths()


class Statistics(NamedTuple):
    """Of the generation's words. held: how many of its documents hold a word."""

    documents: int
    mean_length: float
    held: Callable[[str], int]


class _Postings:
    __slots__ = ("counts", "rows")

    def __init__(self) -> None:
        self.rows, self.counts = array("I"), array("I")


class ChangedWords:
    """The words of the rows that were put, in the order of rows. One thread adds; reading may overlap with it."""

    def __init__(self, analyse: Callable[[str], list[str]], statistics: Statistics) -> None:
        self._analyse, self._statistics = analyse, statistics
        self._by_word: dict[str, _Postings] = {}
        self._norms = array("f")  # of each row: the part of the formula that depends on its length
        self._row = 0

    def add(self, text: str) -> None:
        words = self._analyse(text) if text else []
        for word, count in Counter(words).items():
            postings = self._by_word.setdefault(word, _Postings())
            postings.counts.append(count)
            postings.rows.append(self._row)
        length = LENGTHS[bisect_right(LENGTHS, len(words)) - 1]
        mean = np.float32(self._statistics.mean_length or 1.0)
        self._norms.append(float(K1 * (_ONE - B + B * np.float32(length) / mean)))
        self._row += 1

    def scores(self, words: Sequence[str], count: int) -> NDArray[np.float32]:
        """Of the first `count` rows for the different words of a query; 0 for a row that holds none of them."""
        found = np.zeros(count, np.float32)
        norms = np.array(self._norms[:count], np.float32)
        for word in words:
            postings = self._by_word.get(word)
            if postings is None:
                continue
            rows = np.array(postings.rows, np.int64)
            rows = rows[: np.searchsorted(rows, count)]
            counts = np.array(postings.counts[: len(rows)], np.float32)
            found[rows] += self._weight(word, len(rows)) * (counts / (counts + norms[rows]))
        return found

    def _weight(self, word: str, here: int) -> np.float32:
        documents = max(self._statistics.documents, 1)
        held = min(self._statistics.held(word) or here, documents)
        odds = (np.float32(documents - held) + _HALF) / (np.float32(held) + _HALF)
        idf = np.float32(math.log(float(_ONE + odds)))
        return np.float32(idf * (_ONE + K1))
