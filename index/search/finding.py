"""One search of a generation: which way to go, and that the answer always holds min(k, survivors) rows.

    few survivors               a scan of just their codes
    exact, or no structure      a scan of all codes, which skips blocks that a filter drops
    otherwise                   the structure; queries for which it found too few, or gave up, are scanned

A filter never cuts an answer afterwards: it is in the walk, or in the scan.

A scan costs what survives, and is known before it begins. A walk costs between two bounds: what it takes without a
filter, where all around the query survive, and no end where none do. So a `SearchPlan` scans at once where even the
lower bound is dearer. Otherwise the walk is tried, and gives up for the scan when the share of survivors among the rows
it visited, or the number of candidates that are worth a visit, says that the rest of it would cost more, or when it has
cost as much. Costs are counted, not timed, so that the same search of the same generation always goes the same way.
"""

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from index.disk.codes import Codes, Metric
from index.search import exact
from index.search.bitmap import Bitmap
from index.search.exact import TopK

# By number, in the family's unit, or by name: the least that meets the recall target of the build for rows like those
# of the index. The default is often higher: it does for questions too, which lie farther from what they are to find.
Effort = int | Literal["target"]
MEASURED_K = 10  # hits, of the curve that a build measures


def effort_for(points: Sequence[dict[str, Any]], recall: float) -> int | None:
    """The least measured effort whose lower bound reaches `recall`."""
    good = [int(point["effort"]) for point in points if point["low"] >= recall]
    return min(good, default=None)


# What one vector compared on the way of a structure costs, in survivors that a scan picks in the same time:
# a visit of a walk is some 35 cache lines and a group of neighbours, a row of a list some fast-scan codes and its share
# of the rescoring. Measured by `python -m index.bench.filters`, and held to by the table of `perwatt bench filtered`.
# Of lists on the disk a survivor is a read of 1.1 µs from the page cache, and what lies in memory costs little:
# 20 ns a row of a list, its share of the reads included (100,000 × 384, on AVX2).
WORTH = {"compact": 25.0, "speed": 15.0, "ivf": 1.0, "disk": 0.02}
LISTS = ("ivf", "disk")
# In the same unit, from memory: a picked row right behind the one before, a row of a scan of everything, and a hit, for
# which two or three rows are scored again in float32.
IN_A_ROW, IN_ORDER, HIT = 0.55, 0.8, 40.0
# The same of a row whose codes lie in the block of a vertex, where originals were dropped: what else is there passes by
# too. Measured by `python -m index.bench.originals`, beside IN_ORDER.
# Rows on the disk are read in large pieces by a scan of everything, 0.22 µs each.
IN_BLOCKS = {"compact": 1.4, "speed": 1.9, "disk": 0.2}
# Rows that a quarter of all or fewer are picked one by one; of more, no list of their numbers is kept.
PICKED = 4
# Without a figure of the build's: what is compared grows with the hits to this power.
_GROWTH = {"compact": 0.65, "speed": 0.65, "ivf": 0.0, "disk": 0.0}
_TRIAL = 8  # a walk that is given up for too few survivors has cost an eighth of the scan
_BLOCK = 256  # rows that a scan of all reads or skips as one (index/kernels/scan.cpp)
_LEAST_TRIAL = 64  # visits: fewer say nothing of a share
# Times the vectors that a search compares on average: so many one visits at most, where more effort is spent on it than
# the target needs, as it is by default. One query in a hundred would visit two to four times as many, for next to
# nothing (index/kernels/MEASURED.md, "Long walks").
LONGEST = 1.75
SOME_MORE = 1.2  # where it would otherwise be given up for a scan
# Whoever asks for more than the usual effort may have a walk that costs as much as so many scans, or so many visits,
# which take some milliseconds.
MOST_SCANS, SMALL_WALK = 4, 10_000


class SearchPlan(NamedTuple):
    """How to go about a search. scan: compare all survivors at once. The rest is for a walk, in vectors compared: after
    `trial` it gives up where less than `least_share` of them survive, and after `budget` (0: never) in any case. It is
    over with what it has found after `most` survivors, and in place of giving up after `enough` (0: never)."""

    scan: bool = False
    trial: int = 0
    least_share: float = 0.0
    budget: int = 0
    most: int = 0
    enough: int = 0


WALK, SCAN = SearchPlan(), SearchPlan(scan=True)


FEW_HITS, MANY_HITS = 10, 100


class LongWalks(NamedTuple):
    """Which walks go by spokes, where a layout has codes of edges too: from these efforts on, for FEW_HITS and for
    MANY_HITS; for other k from those on a straight line over its logarithm."""

    few: float
    many: float

    @classmethod
    def of(cls, effort: Mapping[str, Any]) -> Self:
        """As the manifest's entry on efforts has it: NO_WALK by default."""
        points: Sequence[Mapping[str, Any]] = effort.get("spokes_from", ())
        return cls(*(float(point["effort"]) for point in points)) if points else cls(math.inf, math.inf)

    def entry(self) -> list[dict[str, float]]:
        return [{"k": FEW_HITS, "effort": self.few}, {"k": MANY_HITS, "effort": self.many}]

    def begin(self, k: int, effort: int) -> bool:
        share = math.log(k / FEW_HITS) / math.log(MANY_HITS / FEW_HITS)
        return effort >= self.few + (self.many - self.few) * share


EVERY_WALK, NO_WALK = LongWalks(0.0, 0.0), LongWalks(math.inf, math.inf)


class Planner:
    """What searches of one structure cost, from what its build measured.

    Args:
        structure: The profile of a graph, or the family.
        count: Its rows.
        effort: The manifest's entry: the curve of vectors compared for MEASURED_K hits by effort, and `deep`, those for
            more hits at the default effort.
        in_order: Of a scan of everything, what a row costs.
        target_effort: The least that meets the recall target; None: the default does no more.
    """

    def __init__(
        self,
        structure: str,
        count: int,
        effort: Mapping[str, Any],
        in_order: float = IN_ORDER,
        target_effort: int | None = None,
    ) -> None:
        self._structure, self._count, self._in_order = structure, count, in_order
        self._target = int(effort["default"]) if target_effort is None else target_effort
        self._by_spokes = LongWalks.of(effort)
        curve = sorted(effort["curve"], key=lambda point: int(point["effort"]))
        self._efforts, self._scored = [point["effort"] for point in curve], [point["scored"] for point in curve]
        self._default = int(effort["default"])
        usual = max(1.0, self._usual(self._default))
        deeper = {int(point["k"]): point["scored"] / usual for point in effort.get("deep", ())}
        growth = _GROWTH.get(structure, 0.0)
        deeper = deeper or {10 * MEASURED_K: 10**growth}
        points = [(1.0, 0.99), (MEASURED_K, 1.0), *sorted(deeper.items())]
        (some, cost), (more, dearer) = points[-2:]
        slope = max(growth, math.log(max(dearer, 1.0) / cost) / math.log(more / some))
        points.append((1e9, dearer * (1e9 / more) ** slope))
        self._hits = np.log([hits for hits, _ in points])
        self._times = np.maximum.accumulate(np.log([times for _, times in points]))
        self._at = functools.lru_cache(maxsize=1024)(self._compared)
        self._reach = functools.lru_cache(maxsize=1024)(self._hits_for)

    def plan(self, k: int, effort: int, keep: Bitmap | None) -> SearchPlan:
        """For k hits of the rows that `keep` lets through (None: all)."""
        if self._structure not in WORTH:
            return SCAN
        if keep is None and k <= MEASURED_K:
            if effort <= self._default:
                return SearchPlan(most=self._visited(LONGEST, k, effort))  # what the structure was built for
            dearest = MOST_SCANS * (self._count * self._in_order + HIT * k) / WORTH[self._structure]
            return SearchPlan(budget=max(SMALL_WALK, int(dearest)))
        survivors = self._count if keep is None else keep.count
        scan = HIT * min(k, survivors)
        scan += self._count * self._in_order if keep is None else scan_cost(keep, self._in_order)
        worth = WORTH["compact" if self._by_spokes.begin(k, effort) else self._structure]
        share = max(survivors, 1) / self._count
        around = share if self._structure in LISTS else 1.0  # lists hold survivors by chance
        # Where it was asked for though a scan of all is quicker, a structure is used as it would be without a filter.
        usual = k <= MEASURED_K and share * PICKED > 1
        if not usual and scan <= worth * self._at(k, effort) / around:
            return SCAN
        budget = scan / worth
        least = 0.0 if keep is None or self._structure in LISTS else k / self._reach(effort, int(budget))
        if usual:
            budget = max(budget, 2 * self._at(math.ceil(k / share), effort))
            least = min(least, share / 4)
        trial = max(_LEAST_TRIAL, int(budget / _TRIAL))
        most, enough = (self._visited(times, k, effort) for times in (LONGEST, SOME_MORE))
        return SearchPlan(False, trial, least, max(1, int(budget)), most, enough)

    def _visited(self, times: float, k: int, effort: int) -> int:
        """So many times what a search visits on average; 0 for never: who names an effort gets all of it."""
        if self._structure in LISTS or not self._target < effort <= self._default:
            return 0
        return max(_LEAST_TRIAL, int(times * self._at(k, effort)))

    def _usual(self, effort: int) -> float:
        return float(np.interp(effort, self._efforts, self._scored))

    def _compared(self, k: int, effort: int) -> float:
        """Vectors that a search for k hits compares, without a filter."""
        times = math.exp(float(np.interp(math.log(k), self._hits, self._times)))
        return min(self._usual(effort) * times, float(self._count))

    def _hits_for(self, effort: int, compared: int) -> float:
        """Hits that a search finds that compares so many, without a filter."""
        times = math.log(max(1, compared) / max(1.0, self._usual(effort)))
        return math.exp(float(np.interp(times, self._times, self._hits)))


def scan_cost(keep: Bitmap, in_order: float = IN_ORDER) -> float:
    """Of a scan of the survivors, in survivors that are picked one by one, each far from the one before."""
    if picks(keep):
        return keep.runs + (keep.count - keep.runs) * IN_A_ROW
    return in_order * min(keep.size, keep.count + _BLOCK * keep.runs)


def picks(keep: Bitmap) -> bool:
    """Whether a scan reads the survivors alone, one by one, and not every block of rows that holds some."""
    return keep.count <= keep.size // PICKED


class Searcher(Protocol):
    """How a family finds the best k ≤ n rows, or fewer. Scores are those of exact search."""

    def search(
        self, queries: NDArray[np.float32], k: int, effort: int, keep: Bitmap | None = None, plan: SearchPlan = WALK
    ) -> TopK: ...


class ComparedRows(Protocol):
    """What every way looks at: the best k ≤ n of them, scored as a searcher of the same rows does, and their vectors,
    float32 (stop − start, dim)."""

    def scan(self, queries: NDArray[np.float32], k: int, keep: Bitmap | None = None) -> TopK: ...
    def between(self, start: int, stop: int) -> NDArray[np.float32]: ...


@dataclass(frozen=True)
class ScannedRows:
    """float32 rows, their codes, and how they are compared."""

    vectors: NDArray[np.float32]
    codes: Codes
    metric: Metric
    threads: int

    def scan(self, queries: NDArray[np.float32], k: int, keep: Bitmap | None = None) -> TopK:
        """Every row, or of few survivors theirs alone, which are read one by one with nothing between them."""
        metric: Metric = "l2" if self.metric == "l2" else "ip"  # cosine rows and queries are of length 1 by now
        if keep is not None and picks(keep):
            return exact.search_at(queries, self.vectors, k, metric, keep.rows32, codes=self.codes)
        words = None if keep is None else keep.words
        return exact.search(queries, self.vectors, k, metric, codes=self.codes, threads=self.threads, keep=words)

    def between(self, start: int, stop: int) -> NDArray[np.float32]:
        """A view."""
        return self.vectors[start:stop]


def find(
    rows: ComparedRows,
    searcher: Searcher | None,
    queries: NDArray[np.float32],
    k: int,
    effort: int,
    *,
    keep: Bitmap | None = None,
    plan: SearchPlan = WALK,
) -> TopK:
    """The best k ≤ n of each query; rows are −1 only where fewer than k survive the filter."""
    if searcher is None or plan.scan:
        return rows.scan(queries, k, keep)
    found = searcher.search(queries, k, effort, keep, plan)
    wanted = k if keep is None else min(k, keep.count)
    short = np.flatnonzero(found.rows[:, wanted - 1] < 0)
    if len(short):
        rest = rows.scan(np.ascontiguousarray(queries[short]), k, keep)
        found.rows[short], found.scores[short] = rest.rows, rest.scores
        found.scored[short] += rest.scored
    return found
