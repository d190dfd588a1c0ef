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
the machine that builds (trials.py).
"""

from typing import Literal, NamedTuple, get_args

from index.build.drafts import drafting
from index.disk import layout, lists
from index.disk.codes import code_stride
from index.disk.layout import Originals, Profile
from index.errors import InputError

Family = Literal["flat", "graph", "ivf"]
FAMILIES: tuple[str, ...] = get_args(Family)
PROFILES: tuple[str, ...] = get_args(Profile)
DISK = lists.PROFILE

FLAT_CODE_BYTES = 4 << 20  # 10,922 rows of 384 dimensions: a scan of some 100 µs
STRUCTURE_ROWS = 200  # half of them are held out to measure a graph or lists
MEMORY_SHARE = 0.7  # of the limit that an index may take; the rest is Python, FAISS's scratch and the payload's pages

FEW_CODE_BYTES = 1 << 20  # of so few rows either profile is quick


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


def grown_bytes(count: int, dim: int) -> int:
    """Memory to add rows to a graph there is, in FAISS, which holds the float32 rows twice while it takes them over."""
    return graph_bytes(count, dim, "speed", "faiss") + 4 * count * dim


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
        return "compact", f"speed would need {mib(need)}, and {mib(memory)} may be used"
    return None, "both are tried"


def choose_both(
    count: int, dim: int, profile: str, family: str, memory_limit_bytes: int, originals: Originals, builder: str
) -> tuple[Profile | None, str, FamilyChoice]:
    """The profile and why, and the family. Raises InputError for what cannot be had of such rows in such a memory."""
    chosen, reason = choose_profile(profile, count, dim, memory_limit_bytes, originals, builder)
    if profile == DISK:
        return chosen, reason, choose_for_disk(family, count, dim)
    return chosen, reason, choose(family, count, dim, memory_limit_bytes, chosen or "compact", originals, builder)


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
        need, memory = graph_bytes(count, dim, profile, builder), int(memory_limit_bytes * MEMORY_SHARE)
        if dim > layout.MAX_DIM or need > memory:
            raise InputError(
                f"originals are dropped from a graph, of at most {layout.MAX_DIM:,} dimensions: of {count:,} × {dim} "
                f"one needs {mib(need)}, and {mib(memory)} may be used. Use --profile disk, which keeps none of them "
                "either, or --originals keep, or give it more memory."
            )
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
                f"building {count:,} × {dim} as a graph needs {mib(need)}, and this process may use "
                f"{mib(memory_limit_bytes)}. Use ivf (or auto), or give it more memory."
            )
        return FamilyChoice("graph", "asked for") if asked == "graph" else FamilyChoice("ivf", "asked for")
    if asked != "auto":
        raise InputError(f"{asked!r} is not a family; expected auto, {', '.join(FAMILIES)}")
    code_bytes, memory = count * code_stride(dim), int(memory_limit_bytes * MEMORY_SHARE)
    if count < STRUCTURE_ROWS or code_bytes <= FLAT_CODE_BYTES:
        return FamilyChoice(
            "flat",
            f"{count:,} × {dim} have only {mib(code_bytes)} of codes: scanning them is as quick as a graph, and exact",
        )
    if dim > layout.MAX_DIM:
        return FamilyChoice("ivf", f"a graph has at most {layout.MAX_DIM:,} dimensions, and these have {dim:,}")
    need = graph_bytes(count, dim, profile, builder)
    if need <= memory:
        return FamilyChoice(
            "graph", f"building {count:,} × {dim} as a graph needs {mib(need)}, and {mib(memory)} may be used"
        )
    return FamilyChoice(
        "ivf", f"building {count:,} × {dim} as a graph needs {mib(need)}, and only {mib(memory)} may be used"
    )


def mib(size: int) -> str:
    return f"{size / 2**20:,.1f} MiB"
