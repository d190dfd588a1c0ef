"""BM25 with k1 = 1.2 and b = 0.75, bit for bit as tantivy computes what one word adds to a score.

The length of a text is rounded down to one of 256 (fieldnorm, as in Lucene). All of it is float32, as there, so that
equal texts have equal scores. A score is the sum over the different words of a query in the order in which it first
says them, each as often as it says it. tantivy adds in an order
that depends on how its search went, so its own sums differ from these in their last bits.
"""

import math
from bisect import bisect_right
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

K1, B = np.float32(1.2), np.float32(0.75)
_ONE, _HALF = np.float32(1), np.float32(0.5)


class Statistics(NamedTuple):
    """Of the words of an index. documents: how many there are. held: how many of them hold a word."""

    documents: int
    mean_length: float
    held: Callable[[str], int]


def _lengths() -> list[int]:
    """Lucene's SmallFloat.byte4ToInt: exact below 40, then three bits of mantissa."""
    exact = 24
    found = list(range(exact))
    for number in range(256 - exact):
        bits, shift = number & 7, (number >> 3) - 1
        found.append(exact + (bits if shift < 0 else (bits | 8) << shift))
    return found


LENGTHS = _lengths()


def norm(words: int, mean_length: float) -> np.float32:
    """The part of the formula that depends on the length of a text."""
    length = LENGTHS[bisect_right(LENGTHS, words) - 1]
    return K1 * (_ONE - B + B * np.float32(length) / np.float32(mean_length or 1.0))


def weight(held: int, documents: int, times: int = 1) -> np.float32:
    """What a word is worth that so many of the documents hold and a query says so many times."""
    documents = max(documents, 1)
    held = min(held, documents)
    odds = (np.float32(documents - held) + _HALF) / (np.float32(held) + _HALF)
    idf = np.float32(math.log(float(_ONE + odds)))
    return np.float32(idf * (_ONE + K1)) * np.float32(times)
