"""Which profile of a graph is quicker, and which of its walks go which way: tried on the machine that builds, on the
links that it has just made, with rows that they have not seen.

Profiles are held against each other at two recalls: that which the build aims at, and the higher one that its default
effort is for. Compact, which is a third of the size, wins what is even at both, and what would take too long to try.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from index.build.recall import HeldOutTruth, K, midway_target, recall_of
from index.disk.layout import Layout, Profile
from index.search.finding import EVERY_WALK, FEW_HITS, MANY_HITS, NO_WALK, LongWalks
from index.search.walk import EFFORTS, Walk

TRIED_S = 60.0  # of encoding the other profile; beyond it, compact is taken
_SLOWER = 5  # times as long as compact takes the encoding of speed, about
TRIED_QUERIES, TRIED_ROUNDS = 200, 5
# Of compact's time: what speed takes where it is quicker, and at most where it is not.
WON, EVEN = 0.97, 1.05
# Of the walks of speed that are tried both ways; and an effort that nobody asks for: no walk is quicker by spokes.
WAY_EFFORTS = (50, 75, 100, 125, 150, 175, 200, 250, 300, 350, 400, 500, 600)
WAY_QUERIES, WAY_ROUNDS, NEVER = 100, 3, 10_000
NEARLY = 1.1  # of the time by edges that spokes may take: what is even from small pages is a tenth quicker in huge ones

Walked = Callable[[Layout, LongWalks], Walk]


class TriedProfile(NamedTuple):
    """The profile that won, its layout of the links that were tried, and what the manifest says of the choice."""

    profile: Profile
    layout: Layout
    record: dict[str, Any]


def quicker(*took_us: Mapping[Profile, float]) -> Profile:
    """What each takes, at one recall or several: speed where it is quicker at one and even or better at all."""
    shares = [each["speed"] / each["compact"] for each in took_us]
    return "speed" if min(shares) < WON and max(shares) <= EVEN else "compact"


def try_profiles(
    encode: Callable[[Profile], Layout],
    walked: Walked,
    truth: HeldOutTruth,
    target: float,
    *,
    tried_s: float = TRIED_S,
    encoded_s: float | None = None,
) -> TriedProfile:
    """The quicker profile, each as what it takes for the same recall, asked in turns, on one thread; of speed the
    quicker of its two ways.

    Args:
        encode: Into memory such as a server maps: pages of the usual size.
        walked: A walk over a layout, of whose searches some go by spokes.
        truth: Of queries that the links have not seen.
        target: The recall that the build aims at.
        encoded_s: What encoding compact has taken, where that was before.
    """
    start_s = time.perf_counter()
    layouts: dict[Profile, Layout] = {"compact": encode("compact")}
    expected_s = _SLOWER * (time.perf_counter() - start_s if encoded_s is None else encoded_s)
    if expected_s > tried_s:
        why = f"compact without a trial: encoding speed would take some {expected_s:.0f} s, and {tried_s:g} are allowed"
        return TriedProfile("compact", layouts["compact"], {"how": why})
    layouts["speed"] = encode("speed")
    some = slice(TRIED_QUERIES)
    truth = HeldOutTruth(truth.rows[some], truth.queries[some], truth.scores[some])
    by_edges, by_spokes = (walked(layouts["speed"], ways) for ways in (NO_WALK, EVERY_WALK))
    walks: list[tuple[Profile, Walk]] = [
        ("compact", walked(layouts["compact"], NO_WALK)), ("speed", by_edges), ("speed", by_spokes),
    ]  # fmt: skip
    aims = (target, midway_target(target))
    efforts = [[_least_effort(each, truth, aim) for _, each in walks] for aim in aims]
    took_us = [_took_us([each for _, each in walks], truth.queries, at) for at in efforts]
    best: list[dict[Profile, float]] = [
        {"compact": round(each[0], 2), "speed": round(min(each[1:]), 2)} for each in took_us
    ]
    chosen = quicker(*best)
    record = {
        "how": f"both were tried at recall {aims[1]:g} and {aims[0]:g} of {len(truth.queries)} held-out rows: "
        "processor time of a walk",
        "walk_us": best[1],
        "walk_us_at_target": best[0],
        "effort": {"compact": efforts[1][0], "speed": efforts[1][1 + int(np.argmin(took_us[1][1:]))]},
        "seconds": round(time.perf_counter() - start_s, 2),
    }
    return TriedProfile(chosen, layouts[chosen], record)


def _took_us(walks: Sequence[Walk], queries: NDArray[np.float32], efforts: Sequence[int]) -> list[float]:
    """Processor time of a query of each walk, the least of all rounds."""
    rounds = []
    for _ in range(TRIED_ROUNDS):
        rounds.append([_took_ns(walk, queries, K, effort) for walk, effort in zip(walks, efforts, strict=True)])
    return [float(ns) / 1e3 / len(queries) for ns in np.min(rounds, axis=0)]


def _took_ns(walk: Walk, queries: NDArray[np.float32], k: int, effort: int) -> int:
    start_ns = time.thread_time_ns()
    walk.search(queries, k, effort)
    return time.thread_time_ns() - start_ns


def try_ways(walked: Callable[[LongWalks], Walk], queries: NDArray[np.float32]) -> LongWalks:
    """Which walks go by spokes, where a layout has codes of edges too: those of an effort at which spokes find as good
    hits in less time, for few hits and for many, on one thread.

    Args:
        walked: A walk over that layout that goes so.
        queries: That the links have not seen.
    """
    by_edges, by_spokes = walked(NO_WALK), walked(EVERY_WALK)
    queries = queries[:WAY_QUERIES]

    def found(walk: Walk, k: int, effort: int) -> float:
        """How good the hits are: the sum of their scores, which are exact."""
        scores = walk.search(queries, k, effort).scores
        return float(scores[np.isfinite(scores)].sum(dtype=np.float64))

    def pays(k: int, effort: int) -> bool:
        wanted = found(by_edges, k, effort)
        as_good = _least(range(effort // 2, 2 * effort), lambda other: found(by_spokes, k, other) >= wanted)
        ways = ((by_edges, effort), (by_spokes, as_good))
        edges_ns, spokes_ns = np.min(
            [[_took_ns(walk, queries, k, each) for walk, each in ways] for _ in range(WAY_ROUNDS)], axis=0
        )
        return bool(spokes_ns < NEARLY * edges_ns)

    def first(k: int) -> float:
        return float(_least((*WAY_EFFORTS, NEVER), lambda effort: effort == NEVER or pays(k, effort)))

    return LongWalks(first(FEW_HITS), first(MANY_HITS))


def _least(choices: Sequence[int], does: Callable[[int], bool]) -> int:
    """The first of ascending choices that does, of which every later one does too; the last one if none does."""
    lower, upper = 0, len(choices) - 1
    while lower < upper and choices[upper] - choices[lower] > choices[lower] // 20:
        middle = (lower + upper) // 2
        lower, upper = (lower, middle) if does(choices[middle]) else (middle + 1, upper)
    return choices[upper]


def _least_effort(walk: Walk, truth: HeldOutTruth, aimed: float) -> int:
    """The least effort that reaches a recall, to a twentieth."""

    def enough(effort: int) -> bool:
        return recall_of(walk.search(truth.queries, K, effort), truth, effort).recall >= aimed

    upper = next((effort for effort in EFFORTS if enough(effort)), EFFORTS[-1])
    lower = max((effort for effort in EFFORTS if effort < upper), default=upper)
    while upper - lower > max(1, upper // 20):
        middle = (lower + upper) // 2
        lower, upper = (lower, middle) if enough(middle) else (middle, upper)
    return upper
