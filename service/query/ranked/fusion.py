"""Rankings into one, by how far their scores stand out; by rank alone where that is asked for.

    gain of a row in dense      weight · (score − floor) / scale
    gain of a row in lexical    weight · (score − floor) / best · stand_out²; in sparse as well
    fused score                 the sum of its gains

The first `DEPTH` rows of a ranking gain. `floor` is the score of the last of them, and 0 where fewer rows than that
have any of the words; `scale` is the larger of the best score and the floor, as absolute values. So a ranking whose
best rows score hardly better than the many behind them, because no word is rare or no document is near, adds hardly
anything. `stand_out`, from 0 to 1, is how far the mean of the first `DEPTH` lies below the best, rows without a word
counting as 0; without its square, words that are in every other document would count for too much.

The best `DEPTH` rows by that come first, so the order at the top does not depend on how many hits are asked for. Behind
them scores say little, and the others follow by rank, with scores below 0 (recall@100 is that of a fusion by rank).

It loses to the better ranking on none of five judged collections; fused by ranks two of them do. Weights that are
learnt from the documents, or from how far rankings agree, gain 0.003 to 0.005 on average, lose to a ranking where this
does not, and follow wrong words further (deploy/figures/BENCHMARKS.md; `service/bench/judged/fusion.py` measures it).
Fusion by ranks is reciprocal rank fusion (Cormack, Clarke and Büttcher, SIGIR 2009): score = Σ weight / (rrf_k + rank),
ranks from 1.

Both are pure functions of the two rankings, so rankings that were merged from shards are fused like any other. Ties go
to the smaller row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from index.search.finding import Effort
from service.wire.answer.search import Explanation, RankPlace

# Rows of each ranking that gain: the most with which no measured collection loses to the better ranking.
DEPTH = 50
FUSED_PER_HIT = 2  # rows of each ranking that are looked at, for each hit asked for
RRF_K = 60  # as the paper has it

MEASURED_K = 10  # of the recall that an index's efforts were measured by
LEAST_SHARE = 0.25  # of the rows, below which a filter is narrow

Rows = Mapping[int, float]  # row to score, best first
NOTHING: Rows = {}
Gains = Callable[[Sequence[float], int], list[float]]


def fuse(
    dense: Rows,
    lexical: Rows,
    weights: Sequence[float] = (1.0, 1.0),
    rrf_k: int | None = None,
    order: Callable[[int], Any] = int,
    depth: int = DEPTH,
    sparse: Rows = NOTHING,
) -> list[tuple[int, float]]:
    """(row, score), best first. A weight of 0 leaves a ranking out.

    Args:
        weights: of dense and lexical, and of sparse where that is given.
        rrf_k: fuse by rank, with this constant.
        order: what rows are sorted by where their scores are equal.
        depth: rows of each ranking whose scores count.
    """
    used = [each for each in zip((dense, lexical, sparse), weights, _GAINS, strict=False) if each[1]]

    def by(gains_of: Callable[[list[float], Gains], Sequence[float]]) -> list[tuple[int, float]]:
        scores: dict[int, float] = {}
        for rows, weight, gains in used:
            for row, gain in zip(rows, gains_of([*rows.values()], gains), strict=False):
                scores[row] = scores.get(row, 0.0) + weight * gain
        return sorted(scores.items(), key=lambda pair: (-pair[1], order(pair[0])))

    if rrf_k is not None:
        return by(lambda scores, _: _reciprocal(len(scores), rrf_k))
    head = by(lambda scores, gains: gains(scores[:depth], depth))[:depth]
    taken, whole = {row for row, _ in head}, sum(weights)
    tail = by(lambda scores, _: _reciprocal(len(scores), RRF_K))
    return head + [(row, score / whole - 1) for row, score in tail if row not in taken]


def effort_of(asked: Effort | None, depth: int, share: float = 1.0) -> Effort | None:
    """Of the search by vectors for so many rows. An effort was measured for the best ten, and deeper searches find more
    of those at a larger price: so the least that reaches the index's recall target finds the best ten of fifty at least
    as well as they are found alone, and costs a fourth of what the usual effort does for fifty. Of the few rows that a
    narrow filter keeps most are compared one by one, and less effort saves nothing.

    Args:
        share: of the rows, that a filter keeps.
    """
    return "target" if asked is None and depth > MEASURED_K and share >= LEAST_SHARE else asked


def explained(
    fused: Sequence[tuple[int, float]],
    dense: Rows,
    lexical: Rows,
    weights: Sequence[float],
    rrf_k: int | None,
    depth: int,
    sparse: Rows = NOTHING,
) -> list[Explanation]:
    """What made the scores that `fuse` gave, of each of its rows."""
    lists = []
    for rows, weight, gains in zip((dense, lexical, sparse), weights, _GAINS, strict=False):
        ranks = {row: rank for rank, row in enumerate(rows, 1)}
        by_score = dict(zip(rows, gains([*rows.values()][:depth], depth), strict=False))
        by_rank = dict(zip(rows, _reciprocal(len(rows), RRF_K if rrf_k is None else rrf_k), strict=True))
        lists.append((rows, weight, ranks, by_score, by_rank))
    found = []
    for place, (row, _) in enumerate(fused):
        ranked = rrf_k is not None or place >= depth
        whole = sum(weights) if ranked and rrf_k is None else 1.0
        places = [
            RankPlace(ranks[row], rows[row], weight * (by_rank if ranked else by_score).get(row, 0.0) / whole)
            if row in rows
            else None
            for rows, weight, ranks, by_score, by_rank in lists
        ]
        found.append(Explanation(places[0], places[1], "rank" if ranked else "score", *places[2:]))
    return found


def _reciprocal(ranks: int, rrf_k: int) -> list[float]:
    return [1 / (rrf_k + rank) for rank in range(1, ranks + 1)]


def _dense_gains(scores: Sequence[float], depth: int) -> list[float]:
    if not scores:
        return []
    floor = scores[-1]
    scale = max(abs(scores[0]), abs(floor)) or 1.0
    return [(score - floor) / scale for score in scores]


def _lexical_gains(scores: Sequence[float], depth: int) -> list[float]:
    if not scores or scores[0] <= 0:
        return [0.0] * len(scores)
    best, floor = scores[0], scores[-1] if len(scores) == depth else 0.0
    stand_out = 1 - sum(scores) / (depth * best)
    return [stand_out**2 * (score - floor) / best for score in scores]


_GAINS: tuple[Gains, ...] = (_dense_gains, _lexical_gains, _lexical_gains)
