"""The graph's search layout: vertex blocks and the root, made by the kernels, in sections of the generation.

    graph.blocks  a block for each row: its int8 codes and its neighbours, in the profile speed with sign codes of the
                  edges to them
    graph.spokes  a code of 2 bits a dimension for each row, of the edge from the root to it; older
                  graphs of the profile speed have none
    graph.rests   where the float32 rows are dropped: 4 bits a dimension more than the int8 codes of the blocks
    graph.root    where walks begin: a block at the mean of all rows, linked to a sample of them

index/kernels/graph.hpp has every byte. All are a function of the rows and the links alone, the same on every
architecture.
"""

import mmap
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from index.disk import lists
from index.disk.section_files import SectionFiles
from index.disk.sections import ALIGNMENT, CODES_FILE, NORMS_FILE
from index.kernels import _native

Profile = Literal["speed", "compact"]
Originals = Literal["keep", "drop"]  # of the float32 rows that a graph was made of
BLOCKS_FILE, SPOKES_FILE, RESTS_FILE, ROOT_FILE = "graph.blocks", "graph.spokes", "graph.rests", "graph.root"
MOST_PACKED = (1 << 24) - 1  # rows whose numbers have three bytes
DEGREE = 32  # neighbours of a vertex: one group of the kernels, and level 0 of FAISS's degree 16
MAX_DIM = 4096  # the kernels add up dim/4 lookups in 16 bits
_SEED = 5
_HUGE_PAGE = 2 << 20  # bytes


class Layout(NamedTuple):
    """The arrays of a graph and what the kernels must know of them."""

    blocks: NDArray[np.uint8]
    root: NDArray[np.uint8]
    count: int  # type: ignore[assignment]  # a tuple's method is hidden, and nobody counts in a layout
    dim: int
    l2: bool
    gain: float
    edge_rms: float  # 0 in the profile compact
    spokes: NDArray[np.uint8] | None = None  # None: of an older graph of the profile speed
    rests: NDArray[np.uint8] | None = None  # where the originals are dropped
    code_norm: float = 0.0  # of the longest restored row without its rest, in the graph's frame
    rest_norm: float = 0.0  # the most that a rest adds to one
    packed: bool = (
        False  # in the profile compact: in the fewest bytes, as of so many rows and of older generations it is not
    )
    edges: bool = True  # whether blocks hold codes of edges: the profile speed
    spoke_rms: float = 0.0  # where there are spokes

    def graph(self) -> _native.Graph:
        return _native.Graph(
            self.blocks,
            self.root,
            self.count,
            self.dim,
            DEGREE,
            self.l2,
            self.gain,
            self.edge_rms,
            self.spokes,
            self.rests,
            self.code_norm,
            self.rest_norm,
            self.packed,
            self.edges,
            self.spoke_rms,
        )


def sampled_roots(count: int) -> NDArray[np.int64]:
    """Rows that the root links to: about √n, whole groups of the kernels. More save fewer visits than they cost."""
    wanted = min(count, max(DEGREE, round(count**0.5 / DEGREE) * DEGREE))
    return np.sort(np.random.default_rng(_SEED).choice(count, wanted, replace=False)).astype(np.int64)


def encode(
    vectors: NDArray[np.float32],
    links: NDArray[np.int32],
    roots: NDArray[np.int64],
    threads: int,
    *,
    l2: bool,
    profile: Profile,
    originals: Originals = "keep",
    memory: SectionFiles | None = None,
) -> Layout:
    """The layout of float32 vectors (n, dim) and links int32 (n, DEGREE), −1 for none.

    memory: Files that the sections lie in, and need not be resident; by default private memory in huge pages.
    """
    count, dim = vectors.shape
    arrays = {
        name: memory(name, size) if memory else huge_bytes(size)
        for name, size in row_sizes(count, dim, profile, originals).items()
    }
    root, packed = np.zeros(_native.root_bytes(dim, len(roots)), np.uint8), is_packed(count, profile)
    blocks, spokes, rests = arrays[BLOCKS_FILE], arrays.get(SPOKES_FILE), arrays.get(RESTS_FILE)
    edges = profile == "speed"
    gain, edge_rms, spoke_rms, code_norm, rest_norm = _native.encode(
        vectors,
        links,
        roots.astype(np.int32),
        l2,
        blocks,
        root,
        threads,
        spokes=spokes,
        rests=rests,
        in_files=memory is not None,
        packed=packed,
        edges=edges,
    )
    norms = code_norm, rest_norm
    return Layout(blocks, root, count, dim, l2, gain, edge_rms, spokes, rests, *norms, packed, edges, spoke_rms)


def copied(made: Layout, files: SectionFiles) -> Layout:
    """The layout with its sections in files."""
    arrays = {BLOCKS_FILE: made.blocks, SPOKES_FILE: made.spokes, RESTS_FILE: made.rests}
    copies = {name: files.copy(name, array) for name, array in arrays.items() if array is not None}
    return made._replace(blocks=copies[BLOCKS_FILE], spokes=copies.get(SPOKES_FILE), rests=copies.get(RESTS_FILE))


def with_all_roots(made: Layout, vectors: NDArray[np.float32], threads: int) -> Layout:
    """The layout with a root of its own that links to a sample of all vectors."""
    roots = sampled_roots(made.count)
    root = np.zeros(_native.root_bytes(made.dim, len(roots)), np.uint8)
    _native.encode_root(vectors, roots.astype(np.int32), made.l2, root, threads)
    return made._replace(root=root)


def relink(made: Layout, links: NDArray[np.int32]) -> None:
    """Gives the vertices of a compact layout other links: no code depends on them."""
    _native.relink(made.blocks, links, made.dim, made.packed)


def is_packed(count: int, profile: Profile) -> bool:
    """Whether so many rows are packed: those of a compact graph whose numbers have three bytes."""
    return profile == "compact" and count <= MOST_PACKED


def row_bytes(dim: int, profile: Profile, originals: Originals = "keep", *, packed: bool = True) -> dict[str, int]:
    """Bytes that a row takes in each section that has one entry a row; in the profile compact, packed or not."""
    rests = {} if originals == "keep" else {RESTS_FILE: _native.rest_bytes(dim)}
    compact = profile == "compact"
    blocks = _native.block_bytes(dim, DEGREE, compact=compact, packed=compact and packed)
    return {BLOCKS_FILE: blocks, SPOKES_FILE: _native.spoke_bytes(dim, packed or not compact)} | rests


def row_sizes(count: int, dim: int, profile: Profile, originals: Originals = "keep") -> dict[str, int]:
    packed = is_packed(count, profile)
    return {name: count * size for name, size in row_bytes(dim, profile, originals, packed=packed).items()}


def huge_bytes(size: int) -> NDArray[np.uint8]:
    """Zeroed private memory in huge pages where the system gives them.

    A visit reads 35 lines at a random place. With 4 KiB pages the walk is 10 % slower at recall 0.95 and 22 % at 0.99
    (100,000 × 384), since most of its pages miss the processor's table of pages.
    """
    memory = mmap.mmap(-1, size + _HUGE_PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        memory.madvise(mmap.MADV_HUGEPAGE)
    raw = np.frombuffer(memory, np.uint8)
    start = -raw.ctypes.data % _HUGE_PAGE
    return raw[start : start + size]


def write(
    folder: Path,
    vectors: NDArray[np.float32],
    links: NDArray[np.int32],
    threads: int,
    *,
    l2: bool,
    profile: Profile,
    originals: Originals = "keep",
) -> tuple[Layout, dict[str, Any]]:
    """Encodes into the folder's sections; returns the layout over them and what the manifest says of it."""
    files, roots = SectionFiles(folder), sampled_roots(len(vectors))
    layout = encode(vectors, links, roots, threads, l2=l2, profile=profile, originals=originals, memory=files)
    return layout, written(folder, layout, files, profile, originals)


def written(
    folder: Path, layout: Layout, files: SectionFiles, profile: Profile, originals: Originals
) -> dict[str, Any]:
    """Writes what is not in the files yet; returns what the manifest says of the layout."""
    files.flush()
    with (folder / ROOT_FILE).open("wb") as file:
        file.write(layout.root.data)
        file.write(b"\0" * (-layout.root.size % ALIGNMENT))
    sections: dict[str, Any] = {
        name: {"dtype": "uint8", "stride_bytes": size, "shape": [layout.count]}
        for name, size in row_bytes(layout.dim, profile, originals, packed=layout.packed).items()
    }
    # Of compact the one length has the name of the other, as it had before both were kept.
    lengths = {"edge_rms": layout.edge_rms if layout.edges else layout.spoke_rms}
    sections[BLOCKS_FILE] |= {"profile": profile, "degree": DEGREE, "gain": layout.gain} | lengths
    if layout.edges:
        sections[SPOKES_FILE]["rms"] = layout.spoke_rms
    if originals == "drop":
        sections[RESTS_FILE] |= {"dim": layout.dim, "code_norm": layout.code_norm, "rest_norm": layout.rest_norm}
    return sections | {ROOT_FILE: {"dtype": "uint8", "stride_bytes": 1, "shape": [layout.root.size]}}


def drop_codes(folder: Path, sections: dict[str, Any]) -> None:
    """Removes the codes that lead a scan to float32 rows: where those are dropped, it reads blocks or records. Their
    scale is remembered, since the codes of changes begin with it."""
    _restoring(sections)["code_step"] = sections[CODES_FILE]["step"]
    for name in (CODES_FILE, NORMS_FILE):
        if sections.pop(name, None) is not None:
            (folder / name).unlink()


def code_step_of(manifest: dict[str, Any]) -> float:
    """What a unit of the rows' int8 codes under one scale is, also where those were dropped: changes begin with it."""
    sections = manifest["sections"]
    return float(sections[CODES_FILE]["step"] if CODES_FILE in sections else _restoring(sections)["code_step"])


def _restoring(sections: dict[str, Any]) -> dict[str, Any]:
    """The entry on what restores rows whose originals were dropped."""
    entry: dict[str, Any] = sections[RESTS_FILE if RESTS_FILE in sections else lists.RECORDS_FILE]
    return entry


def profile_of(manifest: dict[str, Any]) -> str | None:
    """The profile of a generation: of its graph, or "disk"; None if it has neither a graph nor lists on the disk."""
    if lists.RECORDS_FILE in manifest["sections"]:
        return lists.PROFILE
    entry = manifest["sections"].get(BLOCKS_FILE)
    return None if entry is None else entry.get("profile", "speed")


def originals_of(manifest: dict[str, Any]) -> Originals:
    """Whether a generation holds the float32 rows that it was made of."""
    sections = manifest["sections"]
    return "drop" if RESTS_FILE in sections or lists.RECORDS_FILE in sections else "keep"


def load(folder: Path, manifest: dict[str, Any], *, huge_pages: bool = False) -> Layout:
    """The layout of a generation: mapped, or copied into huge pages of this process."""
    sections, count, dim = manifest["sections"], manifest["count"], manifest["dim"]
    entry, root = sections[BLOCKS_FILE], sections[ROOT_FILE]
    profile: Any = entry.get("profile", "speed")
    if profile not in get_args(Profile):
        raise ValueError(
            f"{BLOCKS_FILE} has profile {profile!r}, and this version knows {', '.join(get_args(Profile))}"
        )
    arrays: dict[str, NDArray[np.uint8]] = {}
    sizes = row_bytes(dim, profile, originals_of(manifest))
    packed = profile == "compact" and entry["stride_bytes"] == sizes[BLOCKS_FILE]
    if profile == "compact" and not packed:
        sizes = row_bytes(dim, profile, originals_of(manifest), packed=False)
    edges = profile == "speed"
    if edges and SPOKES_FILE not in sections:
        del sizes[SPOKES_FILE]
    for name, size in sizes.items():
        if entry["degree"] != DEGREE or sections[name]["stride_bytes"] != size:
            raise ValueError(f"{name} has another layout than {count} × {dim} with degree {DEGREE}")
        arrays[name] = np.memmap(folder / name, np.uint8, "r")
        if huge_pages and name != RESTS_FILE:  # of rests a search reads what it returns
            copy = huge_bytes(count * size)
            np.copyto(copy, arrays[name][: len(copy)])
            arrays[name] = copy
    rests = sections.get(RESTS_FILE, {"code_norm": 0.0, "rest_norm": 0.0})
    spoke_rms = sections.get(SPOKES_FILE, {}).get("rms", 0.0) if edges else entry["edge_rms"]
    return Layout(
        arrays[BLOCKS_FILE],
        np.memmap(folder / ROOT_FILE, np.uint8, "r")[: root["shape"][0]],
        count,
        dim,
        manifest["metric"] == "l2",
        entry["gain"],
        entry["edge_rms"] if edges else 0.0,
        arrays.get(SPOKES_FILE),
        arrays.get(RESTS_FILE),
        rests["code_norm"],
        rests["rest_norm"],
        packed,
        edges,
        spoke_rms,
    )
