"""BM25 over the changes, scored as the generation scores its own rows.

The words of a text are those that the generation's analysis finds, and the statistics (how many documents hold a word,
how many there are, how long they are on average) are the generation's: they stay as they are until the changes are
folded into the next one, so a document scores the same before and after it was rewritten with the same text. A word
that no document of the generation holds counts the changes that hold it and were neither replaced nor deleted since.
"""

from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from index.search.bitmap import Bitmap
from index.weights import formula
from index.weights.formula import Statistics


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
        self._norms.append(float(formula.norm(len(words), self._statistics.mean_length)))
        self._row += 1

    def scores(
        self, words: Mapping[str, int], live: Bitmap, held: Mapping[str, int] | None = None
    ) -> NDArray[np.float32]:
        """Of the first rows for the words of a query, and how often it says each; 0 for a row that holds none.

        Args:
            live: of those rows, the ones that were neither replaced nor deleted.
            held: of words that no document of the generation holds, by how many changes, where these are not all.
        """
        found = np.zeros(live.size, np.float32)
        norms = np.array(self._norms[: live.size], np.float32)
        for word, times in words.items():
            rows = self._rows(word, live.size)
            if not len(rows):
                continue
            counts = np.array(self._by_word[word].counts[: len(rows)], np.float32)
            known = self._statistics.held(word) or (held or {}).get(word) or max(1, int(live.held(rows).sum()))
            weight = formula.weight(known, self._statistics.documents, times)
            found[rows] += weight * (counts / (counts + norms[rows]))
        return found

    def new(self, words: Iterable[str], live: Bitmap) -> dict[str, int]:
        """Of words that no document of the generation holds, by how many of the rows in `live` each is held."""
        new = [word for word in words if not self._statistics.held(word)]
        found = {word: int(live.held(self._rows(word, live.size)).sum()) for word in new}
        return {word: rows for word, rows in found.items() if rows}

    def _rows(self, word: str, count: int) -> NDArray[np.int64]:
        """Those of the first `count` that hold a word, ascending."""
        postings = self._by_word.get(word)
        if postings is None:
            return np.zeros(0, np.int64)
        rows = np.array(postings.rows[:], np.int64)  # of a copy: while NumPy reads an array, it cannot be added to
        return rows[: np.searchsorted(rows, count)]
