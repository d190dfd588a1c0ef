"""Several ranked lists into one, best first, ties by id.

Each part gives its best k and, of a tie at their end, those that come first by id or all of them. So the k best of all
are among them, whatever the parts are: a generation and the changes since, or the shards of an index. Lists of
different kinds (dense and lexical) are merged each for itself before they are fused by rank.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Ranked(NamedTuple):
    """One query's list: rows int64 (m,) and scores float32 (m,), best first, without padding."""

    rows: NDArray[np.int64]
    scores: NDArray[np.float32]


def merge(parts: Sequence[Ranked], k: int, id_of: Callable[[int], Any]) -> Ranked:
    """The best k of all parts. id_of: what rows are ordered by where their scores are equal; asked only of those."""
    hits = [hit for part in parts for hit in zip((-part.scores).tolist(), part.rows.tolist(), strict=True)]
    hits.sort()
    _order_ties(hits, k, id_of)
    del hits[k:]
    return Ranked(np.array([row for _, row in hits], np.int64), -np.array([score for score, _ in hits], np.float32))


def _order_ties(hits: list[tuple[float, int]], k: int, id_of: Callable[[int], Any]) -> None:
    start = 0
    while start < min(k, len(hits) - 1):
        end = start + 1
        while end < len(hits) and hits[end][0] == hits[start][0]:
            end += 1
        if end - start > 1:
            hits[start:end] = sorted(hits[start:end], key=lambda hit: id_of(hit[1]))
        start = end
