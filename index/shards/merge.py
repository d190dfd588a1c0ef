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
    rows = [part.rows.tolist() for part in parts]
    best = places([part.scores.tolist() for part in parts], k, lambda part, place: id_of(rows[part][place]))
    return Ranked(
        np.array([rows[part][place] for _, part, place in best], np.int64),
        np.array([score for score, _, _ in best], np.float32),
    )


def places(scores: Sequence[Sequence[float]], k: int, id_of: Callable[[int, int], Any]) -> list[tuple[float, int, int]]:
    """The best k of all parts, as (score, part, place in it), from the scores of each; id_of: as `merge` takes it, of a
    part and a place."""
    hits = [(-score, part, place) for part, each in enumerate(scores) for place, score in enumerate(each)]
    hits.sort()
    _order_ties(hits, k, id_of)
    return [(-less, part, place) for less, part, place in hits[:k]]


def _ranked(part: TopK, query: int, offset: int) -> Ranked:
    """A query's list without its padding."""
    count = int((part.rows[query] >= 0).sum())
    return Ranked(part.rows[query, :count] + offset, part.scores[query, :count])


def _order_ties(hits: list[tuple[float, int, int]], k: int, id_of: Callable[[int, int], Any]) -> None:
    start = 0
    while start < min(k, len(hits) - 1):
        end = start + 1
        while end < len(hits) and hits[end][0] == hits[start][0]:
            end += 1
        if end - start > 1:
            hits[start:end] = sorted(hits[start:end], key=lambda hit: id_of(hit[1], hit[2]))
        start = end
