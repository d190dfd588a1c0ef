"""Which family and profile suit a set, by its size and the memory there is, and what each needs.

flat   the codes fit a core's cache: scanning them all is quicker than walking a graph, and exact
graph  everything else that fits in memory
ivf    the graph would not fit: lists of small codes, mapped

A graph has one of two profiles (index/kernels/graph.hpp):

compact  640 bytes a row at 384 dimensions; a hop reads a line or two for each neighbour that is new, anywhere
speed    2,344 bytes; a hop reads all of one block in a row, or where a walk is long what compact reads

A third is no graph: `disk` keeps some 60 bytes a row in memory, in lists, and reads the rest from the disk as it
searches (index/kernels/lists.hpp). Nobody gets it who does not ask for it.

Which is quicker depends on the processor, its memory and the set (index/kernels/MEASURED.md), so `auto` tries both on
the machine that builds, on the links that it has just made: each takes what it needs for the same recall. Compact,
which is a third of the size, wins what is nearly even, and what would take too long to try.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from index.build.drafts import drafting
from index.build.recall import HeldOutTruth, K, midway_target, recall_of
from index.disk import layout, lists
from index.disk.codes import code_stride
from index.disk.layout import Layout, Originals, Profile
from index.errors import InputError
from index.search.finding import EVERY_WALK, FEW_HITS, MANY_HITS, NO_WALK, LongWalks
from index.search.walk import EFFORTS, Walk

Family = Literal["flat", "graph", "ivf"]
FAMILIES: tuple[str, ...] = get_args(Family)
PROFILES: tuple[str, ...] = get_args(Profile)
DISK = lists.PROFILE

FLAT_CODE_BYTES = 4 << 20  # 10,922 rows of 384 dimensions: a scan of some 100 µs
STRUCTURE_ROWS = 200  # half of them are held out to measure a graph or lists
MEMORY_SHARE = 0.7  # of the limit that an index may take; the rest is Python, FAISS's scratch and the payload's pages

FEW_CODE_BYTES = 1 << 20  # of so few rows either profile is quick
TRIED_S = 60.0  # of encoding the other profile; beyond it, compact is taken
_SLOWER = 5  # times as long as compact takes the encoding of speed, about
TRIED_QUERIES, TRIED_ROUNDS = 200, 5
WON = 0.97  # of compact's time that speed may take to be chosen
# Of the walks of speed that are tried both ways; and an effort that nobody asks for: no walk is quicker by spokes.
WAY_EFFORTS = (50, 75, 100, 125, 150, 175, 200, 250, 300, 350, 400, 500, 600)
WAY_QUERIES, WAY_ROUNDS, NEVER = 100, 3, 10_000
NEARLY = 1.05  # of the time by edges that spokes may take: they read fewer lines, which leaves more to other threads


class FamilyChoice(NamedTuple):
    family: Family
    reason: str


def serving_bytes(count: int, dim: int, profile: Profile) -> int:
    """Memory that walks touch: codes and links. Of the mapped float32 rows they read only the few that they return."""
    return sum(layout.row_sizes(count, dim, profile).values())


def graph_bytes(count: int, dim: int, profile: Profile, builder: str = "own") -> int:
    """Memory to build a graph: what a walk reads, int8 codes, and what its builder needs beside them.

    own, quick: what each row met and the parts that it is in, and its links twice (drafts/). faiss: float32 rows, the
    links of three graphs, 64 candidates of 12 bytes for each vertex of a pass and as many links back.
    """
    passes = 4 * dim + 3 * 4 * layout.DEGREE + 96 * 12 + 12 * layout.DEGREE // 16
    beside = passes
    if drafted := drafting.SETTINGS.get(builder):
        beside = 8 * (drafted["near"] + drafted["drawn"]) + 2 * 4 * drafted["fan"] + 2 * 4 * layout.DEGREE
    return serving_bytes(count, dim, profile) + count * (beside + code_stride(dim))


def choose_profile(
    asked: str, count: int, dim: int, memory_limit_bytes: int, originals: Originals = "keep", builder: str = "own"
) -> tuple[Profile | None, str]:
    """The profile of a graph, and why; None where both are to be tried. Raises InputError for an unknown name."""
    if asked in PROFILES:
        return asked, "asked for"  # type: ignore[return-value]
    if asked not in ("auto", DISK):
        raise InputError(f"{asked!r} is not a profile; expected auto, {', '.join(PROFILES)}, {DISK}")
    if count * code_stride(dim) <= FEW_CODE_BYTES:
        return "compact", "of so few rows either is quick"
    if originals == "drop":
        return "compact", "the smaller one, since the originals are dropped"
    need, memory = graph_bytes(count, dim, "speed", builder), int(memory_limit_bytes * MEMORY_SHARE)
    if need > memory:
        return "compact", f"speed would need {_mib(need)}, and {_mib(memory)} may be used"
    return None, "both are tried"


def choose_both(
    count: int, dim: int, profile: str, family: str, memory_limit_bytes: int, originals: Originals, builder: str
) -> tuple[Profile | None, str, FamilyChoice]:
    """The profile and why, and the family. Raises InputError for what cannot be had of such rows in such a memory."""
    chosen, reason = choose_profile(profile, count, dim, memory_limit_bytes, originals, builder)
    if profile == DISK:
        return chosen, reason, choose_for_disk(family, count, dim)
    return chosen, reason, choose(family, count, dim, memory_limit_bytes, chosen or "compact", originals, builder)


class TriedProfile(NamedTuple):
    """The profile that won, its layout of the links that were tried, and what the manifest says of the choice."""

    profile: Profile
    layout: Layout
    record: dict[str, Any]


def quicker(took_us: Mapping[Profile, float]) -> Profile:
    return "speed" if took_us["speed"] < WON * took_us["compact"] else "compact"


def try_profiles(
    encode: Callable[[Profile], Layout],
    walk: Callable[[Layout], Walk],
    truth: HeldOutTruth,
    target: float,
    *,
    tried_s: float = TRIED_S,
    encoded_s: float | None = None,
) -> TriedProfile:
    """The quicker profile: both find what the default effort aims at, and are asked in turns, on one thread.

    Args:
        encode: Into memory such as a server maps: pages of the usual size.
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
    walks = {profile: walk(each) for profile, each in layouts.items()}
    aimed = midway_target(target)
    efforts = {profile: _least_effort(each, truth, aimed) for profile, each in walks.items()}
    took_us = dict.fromkeys(walks, np.inf)
    for _ in range(TRIED_ROUNDS):
        for profile, each in walks.items():
            start_ns = time.thread_time_ns()
            each.search(truth.queries, K, efforts[profile])
            took_us[profile] = min(took_us[profile], (time.thread_time_ns() - start_ns) / 1e3 / len(truth.queries))
    chosen = quicker(took_us)
    record = {
        "how": f"both were tried at recall {aimed:g} of {len(truth.queries)} held-out rows: processor time of a walk",
        "walk_us": {profile: round(float(us), 2) for profile, us in took_us.items()},
        "effort": efforts,
        "seconds": round(time.perf_counter() - start_s, 2),
    }
    return TriedProfile(chosen, layouts[chosen], record)


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

    def took_ns(walk: Walk, k: int, effort: int) -> int:
        start_ns = time.thread_time_ns()
        walk.search(queries, k, effort)
        return time.thread_time_ns() - start_ns

    def pays(k: int, effort: int) -> bool:
        wanted = found(by_edges, k, effort)
        as_good = _least(range(effort // 2, 2 * effort), lambda other: found(by_spokes, k, other) >= wanted)
        ways = ((by_edges, effort), (by_spokes, as_good))
        edges_ns, spokes_ns = np.min(
            [[took_ns(walk, k, each) for walk, each in ways] for _ in range(WAY_ROUNDS)], axis=0
        )
        return bool(spokes_ns < NEARLY * edges_ns)

    few, many = (
        float(_least((*WAY_EFFORTS, NEVER), lambda effort, k=k: effort == NEVER or pays(k, effort)))  # type: ignore[misc]
        for k in (FEW_HITS, MANY_HITS)
    )
    return LongWalks(few, many)


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


def choose_for_disk(asked: str, count: int, dim: int) -> FamilyChoice:
    """The family of the profile `disk`: lists, but for so few rows that a recall cannot be measured. Raises InputError
    as `choose` does."""
    if asked not in ("auto", "ivf"):
        raise InputError(f"the profile {DISK} is one of lists, not of family {asked}: use --family ivf, or auto")
    if count < STRUCTURE_ROWS and asked == "auto":
        return FamilyChoice("flat", f"{count:,} rows are too few for lists, and scanned")
    if dim > layout.MAX_DIM:
        raise InputError(f"the profile {DISK} has at most {layout.MAX_DIM:,} dimensions, and these have {dim:,}")
    choose("ivf", count, dim, 0)  # refuses so few
    return FamilyChoice("ivf", f"the profile {DISK} was asked for")


def choose(
    asked: str,
    count: int,
    dim: int,
    memory_limit_bytes: int,
    profile: Profile = "compact",
    originals: Originals = "keep",
    builder: str = "own",
) -> FamilyChoice:
    """The family to build. Raises InputError for an unknown name, for a structure too small to be measured, and for one
    that needs originals which are to be dropped."""
    if originals == "drop" and asked in ("flat", "ivf"):
        raise InputError(
            f"{asked} scores float32 rows, so it needs the originals; drop them from a graph (--family graph, or auto)"
        )
    if originals == "drop" and asked == "auto" and count >= STRUCTURE_ROWS:
        choose("graph", count, dim, memory_limit_bytes, profile, builder=builder)  # refuses what can be none
        return FamilyChoice("graph", "originals can be dropped from a graph alone")
    if asked == "flat":
        return FamilyChoice("flat", "asked for")
    if asked in ("graph", "ivf"):
        if count < STRUCTURE_ROWS:
            raise InputError(
                f"{count:,} rows are too few for {asked}: its recall cannot be measured on fewer than "
                f"{STRUCTURE_ROWS}. Use flat (or auto), which is exact and quicker at this size."
            )
        if asked == "graph" and dim > layout.MAX_DIM:
            raise InputError(f"a graph has at most {layout.MAX_DIM:,} dimensions, and these have {dim:,}; use ivf")
        need = graph_bytes(count, dim, profile, builder)
        if asked == "graph" and need > memory_limit_bytes:
            raise InputError(
                f"building {count:,} × {dim} as a graph needs {_mib(need)}, and this process may use "
                f"{_mib(memory_limit_bytes)}. Use ivf (or auto), or give it more memory."
            )
        return FamilyChoice("graph", "asked for") if asked == "graph" else FamilyChoice("ivf", "asked for")
    if asked != "auto":
        raise InputError(f"{asked!r} is not a family; expected auto, {', '.join(FAMILIES)}")
    code_bytes, memory = count * code_stride(dim), int(memory_limit_bytes * MEMORY_SHARE)
    if count < STRUCTURE_ROWS or code_bytes <= FLAT_CODE_BYTES:
        return FamilyChoice(
            "flat",
            f"{count:,} × {dim} have only {_mib(code_bytes)} of codes: scanning them is as quick as a graph, and exact",
        )
    if dim > layout.MAX_DIM:
        return FamilyChoice("ivf", f"a graph has at most {layout.MAX_DIM:,} dimensions, and these have {dim:,}")
    need = graph_bytes(count, dim, profile, builder)
    if need <= memory:
        return FamilyChoice(
            "graph", f"building {count:,} × {dim} as a graph needs {_mib(need)}, and {_mib(memory)} may be used"
        )
    return FamilyChoice(
        "ivf", f"building {count:,} × {dim} as a graph needs {_mib(need)}, and only {_mib(memory)} may be used"
    )


def _mib(size: int) -> str:
    return f"{size / 2**20:,.1f} MiB"
