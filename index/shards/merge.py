"""Several ranked lists into one, best first, ties by id.

Each part gives its best k and, of a tie at their end, those that come first by id or all of them. So the k best of all
are among them, whatever the parts are: a generation and the changes since, or the shards of an index. Lists of
different kinds (dense and lexical) are merged each for itself before they are fused by rank.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from index.kernels import _native
from index.search.exact import TopK


class Ranked(NamedTuple):
    """One query's list: rows int64 (m,) and scores float32 (m,), best first, without padding."""

    rows: NDArray[np.int64]
    scores: NDArray[np.float32]


def merge_top(found: TopK, other: TopK, offset: int, id_of: Callable[[int], Any]) -> None:
    """Puts the hits of `other`, with `offset` added to their rows, in their places in `found`, query by query.

    Where no scores tie, the kernels do it in a microsecond; ids are asked for the other queries.
    """
    count, k = found.rows.shape
    query = 0
    while True:
        query = _native.merge(found.rows, found.scores, other.rows, other.scores, offset, query)
        if query == count:
            return
        parts = _ranked(found, query, 0), _ranked(other, query, offset)
        best = merge(parts, k, id_of)
        found.rows[query, : len(best.rows)], found.scores[query, : len(best.rows)] = best
        query += 1


def merge(parts: Sequence[Ranked], k: int, id_of: Callable[[int], Any]) -> Ranked:
    """The best k of all parts. id_of: what rows are ordered by where their scores are equal; asked only of those."""
    rows = np.concatenate([part.rows for part in parts]) if parts else np.zeros(0, np.int64)
    scores = np.concatenate([part.scores for part in parts]) if parts else np.zeros(0, np.float32)
    best = best_places(scores.tolist(), k, lambda place: id_of(int(rows[place])))
    return Ranked(rows[best], scores[best])


def best_places(scores: Sequence[float], k: int, id_of: Callable[[int], Any]) -> list[int]:
    """The places of the best k in the scores of all parts, which stand one after the other; id_of: as `merge` takes it,
    of a place."""
    order = sorted(range(len(scores)), key=scores.__getitem__, reverse=True)
    first = order[: k + 1]
    if len({scores[place] for place in first}) < len(first):
        _order_ties(order, scores, k, id_of)
    return order[:k]


def _ranked(part: TopK, query: int, offset: int) -> Ranked:
    """A query's list without its padding."""
    count = int((part.rows[query] >= 0).sum())
    return Ranked(part.rows[query, :count] + offset, part.scores[query, :count])


def _order_ties(order: list[int], scores: Sequence[float], k: int, id_of: Callable[[int], Any]) -> None:
    start = 0
    while start < min(k, len(order) - 1):
        end = start + 1
        while end < len(order) and scores[order[end]] == scores[order[start]]:
            end += 1
        if end - start > 1:
            order[start:end] = sorted(order[start:end], key=id_of)
        start = end
