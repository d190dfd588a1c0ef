"""How good the approximate search is: recall@10 against exact search, with an interval, for every effort.

Queries are rows held out of the index while it is measured, so neither the graph nor the lists have seen them, as they
have not seen a user's query; they are added afterwards. A row that is in the graph already is no substitute: its own
edges lead the walk to exactly its neighbours. On 50,000 × 384, efSearch 10 has recall 0.88 on queries from outside and
0.98 on indexed rows whose own hit is left out of the count. Held-out rows are drawn with a fixed seed.

A hit counts when its score is at least that of the k-th true neighbour: which of two equal vectors came back is
nobody's loss.

Rows held out are as near to the data as the data is to itself. A question is not: it has something of several rows,
where the walk is easily led astray, and a lost hit is often the first one. On SciFact's 5,183 abstracts the effort at
which abstracts find 0.97 of their neighbours costs 300 questions up to 0.016 of nDCG@10. So the effort that is served
by default must also do for points midway between two held-out rows, which need about what real questions need; turned
in random directions instead, the same rows need twice as much of one kind of graph and too little of the other.

  effort for recall 0.99              SciFact                 20,000 WordNet glosses
                                      speed     compact       speed     compact
  300 questions of SciFact            250       300           300       350
  held-out rows                       215       240           250       330
  midway between two of them          255       350           310       370
  turned away to a cosine of 0.5      400       240           800       300

What they must reach is stricter than the target, since nDCG still lost 0.007 where questions had a recall of 0.97.

The interval is Wilson's (1927) over queries. The hits of one query stand and fall together, so k · queries independent
trials would be too many; the number of trials is the number that would show the variance seen between queries, n ·
p(1−p)/s², between n and n · k.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from index.disk.codes import Codes, Metric
from index.search import exact
from index.search.exact import TopK

K = 10
HELD_OUT = 1000
_SEED = 20
_Z = 1.959964  # 95 %, two-sided


class RecallPoint(NamedTuple):
    """Recall at one effort, its 95 % interval, and the mean number of vectors compared with a query."""

    effort: int
    recall: float
    low: float
    high: float
    scored: float


class HeldOutTruth(NamedTuple):
    """The held-out queries, their rows, and the exact scores of their k best among all other rows."""

    rows: NDArray[np.int64]
    queries: NDArray[np.float32]
    scores: NDArray[np.float32]  # (q, k), −inf where there are fewer


def held_out_rows(count: int) -> NDArray[np.int64]:
    """Rows to hold out: a tenth, at most HELD_OUT; of small sets more, for the interval's sake, up to half."""
    wanted = min(HELD_OUT, max(count // 10, min(count // 2, HELD_OUT // 5)))
    return np.sort(np.random.default_rng(_SEED).choice(count, wanted, replace=False)).astype(np.int64)


def midway(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """For each vector the point midway between it and another of them, at the mean of both lengths.

    The partner is the one half of them further on, as neighbouring rows are often parts of one document. Two opposite
    vectors, or a zero vector alone, leave a zero vector.
    """
    wide = vectors.astype(np.float64)
    length = np.linalg.norm(wide, axis=1, keepdims=True)
    unit = np.divide(wide, length, out=np.zeros_like(wide), where=length > 0)
    shift = len(wide) // 2
    middle = unit + np.roll(unit, shift, axis=0)
    norm = np.linalg.norm(middle, axis=1, keepdims=True)
    middle = np.divide(middle, norm, out=np.zeros_like(wide), where=norm > 1e-9)
    return np.ascontiguousarray((length + np.roll(length, shift, axis=0)) / 2 * middle, dtype=np.float32)


def midway_target(target: float) -> float:
    """What recall midway between rows must reach by default: a fifth of the misses that `target` allows."""
    return 1 - (1 - target) / 5


def truth_without(
    rows: NDArray[np.int64],
    vectors: NDArray[np.float32],
    codes: Codes,
    metric: Metric,
    threads: int,
    *,
    midway_between: bool = False,
) -> HeldOutTruth:
    """Exact neighbours of the held-out rows, or of points midway between two of them, among the rest."""
    queries = midway(vectors[rows]) if midway_between else np.ascontiguousarray(vectors[rows])
    metric = "l2" if metric == "l2" else "ip"  # cosine rows are unit vectors by now
    scores = np.full((len(rows), K), -np.inf, np.float32)
    todo = np.arange(len(rows))
    wanted = 2 * K
    while len(todo):
        found = exact.search(queries[todo], vectors, wanted, metric, codes=codes, threads=threads)
        kept = (found.rows >= 0) & ~np.isin(found.rows, rows)
        complete = (kept.sum(1) >= K) | (wanted >= len(vectors))
        for place in np.flatnonzero(complete):
            best = found.scores[place][kept[place]][:K]
            scores[todo[place], : len(best)] = best
        todo = todo[~complete]
        wanted = min(2 * wanted, len(vectors))
    return HeldOutTruth(rows, queries, scores)


def recall_of(found: TopK, truth: HeldOutTruth, effort: int) -> RecallPoint:
    expected = np.isfinite(truth.scores).sum(1)
    worst = np.where(np.isfinite(truth.scores), truth.scores, np.inf).min(1)
    hits = ((found.scores >= worst[:, None]) & (found.rows >= 0)).sum(1)
    shares = np.minimum(hits, expected) / np.maximum(expected, 1)
    low, high = interval(shares)
    return RecallPoint(effort, float(shares.mean()), low, high, float(found.scored.mean()))


def interval(shares: NDArray[np.float64]) -> tuple[float, float]:
    """95 % interval of the mean of each query's share of hits."""
    n, p = len(shares), float(shares.mean())
    variance = float(shares.var(ddof=1)) if n > 1 else 0.0
    trials = min(n * K, max(n, n * p * (1 - p) / variance)) if variance > 0 else n
    centre = (p + _Z**2 / (2 * trials)) / (1 + _Z**2 / trials)
    half = _Z / (1 + _Z**2 / trials) * np.sqrt(p * (1 - p) / trials + _Z**2 / (4 * trials**2))
    # With p at 0 or 1 an end of the interval is p itself, which rounding would miss.
    return max(0.0, min(p, float(centre - half))), min(1.0, max(p, float(centre + half)))


def curve(
    search: Callable[[NDArray[np.float32], int, int], TopK], truth: HeldOutTruth, ladder: Sequence[int], target: float
) -> list[RecallPoint]:
    """Recall at each effort of the ladder, and between the two around the target until their gap is a twentieth.

    The ladder is climbed until it stops paying: two steps with the lower bound above the target, and either above
    0.995 too or without a miss. Fewer than 800 queries that miss nothing do not prove 0.995, however far it is climbed.
    """

    def at(effort: int) -> RecallPoint:
        return recall_of(search(truth.queries, K, effort), truth, effort)

    points: list[RecallPoint] = []
    enough = 0
    for effort in ladder:
        points.append(at(effort))
        enough += points[-1].low >= target and (points[-1].low >= 0.995 or points[-1].recall == 1)
        if enough == 2:
            break
    while True:
        good = [point.effort for point in points if point.low >= target]
        if not good:
            return sorted(points)
        upper = min(good)
        lower = max((point.effort for point in points if point.effort < upper), default=upper)
        if upper - lower <= max(1, upper // 20):
            return sorted(points)
        points.append(at((lower + upper) // 2))


def least_effort(
    search: Callable[[NDArray[np.float32], int, int], TopK], truth: HeldOutTruth, ladder: Sequence[int], target: float
) -> int:
    """The first effort of the ladder at which mean recall reaches `target`; the last one if none does."""
    for effort in ladder:
        if recall_of(search(truth.queries, K, effort), truth, effort).recall >= target:
            return effort
    return ladder[-1]
