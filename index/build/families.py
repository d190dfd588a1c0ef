"""Which family and profile suit a set, by its size and the memory there is, and what each needs.

flat   the codes fit a core's cache: scanning them all is quicker than walking a graph, and exact
graph  everything else that fits in memory
ivf    the graph would not fit: lists of small codes, mapped

A graph has one of two profiles (index/kernels/graph.hpp):

compact  704 bytes a row at 384 dimensions; a hop reads a line or two for each neighbour that is new, anywhere
speed    2,240 bytes; a hop reads all of one block in a row

Measured side by side (index/kernels/MEASURED.md), compact is quicker than speed on 100,000 rows, above all in mapped
files, and 5 % slower on 400,000, in a third of the memory: so auto takes compact. Speed is for who has the memory and a
machine that is slow at random reads and quick at long ones.
"""

from typing import Literal, NamedTuple, get_args

from index.disk import layout
from index.disk.codes import code_stride
from index.disk.layout import Profile
from index.errors import InputError

Family = Literal["flat", "graph", "ivf"]
FAMILIES: tuple[str, ...] = get_args(Family)
PROFILES: tuple[str, ...] = get_args(Profile)

FLAT_CODE_BYTES = 4 << 20  # 10,922 rows of 384 dimensions: a scan of some 100 µs
STRUCTURE_ROWS = 200  # half of them are held out to measure a graph or lists
MEMORY_SHARE = 0.7  # of the limit that an index may take; the rest is Python, FAISS's scratch and the payload's pages


class FamilyChoice(NamedTuple):
    family: Family
    reason: str


def serving_bytes(count: int, dim: int, profile: Profile) -> int:
    """Memory that walks touch: codes and links. Of the mapped float32 rows they read only the few that they return."""
    return sum(layout.row_sizes(count, dim, profile).values())


def graph_bytes(count: int, dim: int, profile: Profile) -> int:
    """Memory to build a graph: float32 rows twice (FAISS's, and turned into the graph's frame), what a walk reads, the
    links of three graphs, 64 candidates of 12 bytes for each vertex of a pass and as many links back, int8 codes."""
    padded = code_stride(dim)
    links = 3 * 4 * layout.DEGREE + 96 * 12 + 12 * layout.DEGREE // 16
    return serving_bytes(count, dim, profile) + count * (4 * dim + 4 * padded + links + padded)


def choose_profile(asked: str, count: int, dim: int) -> tuple[Profile, str]:
    """The profile of a graph, and why. Raises InputError for an unknown name."""
    if asked in PROFILES:
        return asked, "asked for"  # type: ignore[return-value]
    if asked != "auto":
        raise InputError(f"{asked!r} is not a profile; expected auto, {', '.join(PROFILES)}")
    compact, speed = serving_bytes(count, dim, "compact"), serving_bytes(count, dim, "speed")
    return "compact", f"about as quick as speed, in {_mib(compact)} of memory instead of {_mib(speed)}"


def choose(asked: str, count: int, dim: int, memory_limit_bytes: int, profile: Profile = "compact") -> FamilyChoice:
    """The family to build. Raises InputError for an unknown name, and for a structure too small to be measured."""
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
        need = graph_bytes(count, dim, profile)
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
    need = graph_bytes(count, dim, profile)
    if need <= memory:
        return FamilyChoice(
            "graph", f"building {count:,} × {dim} as a graph needs {_mib(need)}, and {_mib(memory)} may be used"
        )
    return FamilyChoice(
        "ivf", f"building {count:,} × {dim} as a graph needs {_mib(need)}, and only {_mib(memory)} may be used"
    )


def _mib(size: int) -> str:
    return f"{size / 2**20:,.1f} MiB"
