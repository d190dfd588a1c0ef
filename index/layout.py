"""The graph's search layout: vertex blocks and the root, made by the kernels, in sections of the generation.

    graph.blocks  a block for each row: its int8 codes, and a sign code of the edge to each of its neighbours
    graph.root    where walks begin: a block at the mean of all rows, linked to a sample of them

index/kernels/graph.hpp has every byte. Both are a function of the rows and the links alone, the same on every
architecture.
"""

import mmap
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from index.kernels import _native
from index.sections import ALIGNMENT

BLOCKS_FILE, ROOT_FILE = "graph.blocks", "graph.root"
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
    edge_rms: float

    def graph(self) -> _native.Graph:
        return _native.Graph(self.blocks, self.root, self.count, self.dim, DEGREE, self.l2, self.gain, self.edge_rms)


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
    blocks: NDArray[np.uint8] | None = None,
) -> Layout:
    """The layout of float32 vectors (n, dim) and links int32 (n, DEGREE), −1 for none; into `blocks` if given."""
    count, dim = vectors.shape
    if blocks is None:
        blocks = huge_bytes(blocks_size(count, dim))
    root = np.zeros(_native.root_bytes(dim, len(roots)), np.uint8)
    gain, edge_rms = _native.encode(vectors, links, roots.astype(np.int32), l2, blocks, root, threads)
    return Layout(blocks, root, count, dim, l2, gain, edge_rms)


def blocks_size(count: int, dim: int) -> int:
    return count * int(_native.block_bytes(dim, DEGREE))


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
) -> tuple[Layout, dict[str, Any]]:
    """Encodes into the folder's sections; returns the layout over them and what the manifest says of it."""
    count, dim = vectors.shape
    size = blocks_size(count, dim)
    with (folder / BLOCKS_FILE).open("wb") as file:
        # Reserved, not only sized: on a full disk a store into a mapping would end the process instead of this call.
        os.posix_fallocate(file.fileno(), 0, -(-size // ALIGNMENT) * ALIGNMENT)
    blocks = np.memmap(folder / BLOCKS_FILE, np.uint8, "r+")
    layout = encode(vectors, links, sampled_roots(count), threads, l2=l2, blocks=blocks)
    blocks.flush()
    with (folder / ROOT_FILE).open("wb") as file:
        file.write(layout.root.data)
        file.write(b"\0" * (-layout.root.size % ALIGNMENT))
    entry = {"dtype": "uint8", "stride_bytes": int(_native.block_bytes(dim, DEGREE)), "shape": [count]}
    return layout, {
        BLOCKS_FILE: entry | {"degree": DEGREE, "gain": layout.gain, "edge_rms": layout.edge_rms},
        ROOT_FILE: {"dtype": "uint8", "stride_bytes": 1, "shape": [layout.root.size]},
    }


def load(folder: Path, manifest: dict[str, Any], *, huge_pages: bool = False) -> Layout:
    """The layout of a generation: mapped, or copied into huge pages of this process."""
    sections, count, dim = manifest["sections"], manifest["count"], manifest["dim"]
    entry, root = sections[BLOCKS_FILE], sections[ROOT_FILE]
    if entry["degree"] != DEGREE or entry["stride_bytes"] != _native.block_bytes(dim, DEGREE):
        raise ValueError(f"{BLOCKS_FILE} has another layout than {count} × {dim} with degree {DEGREE}")
    blocks: NDArray[np.uint8] = np.memmap(folder / BLOCKS_FILE, np.uint8, "r")
    if huge_pages:
        copy = huge_bytes(blocks_size(count, dim))
        np.copyto(copy, blocks[: len(copy)])
        blocks = copy
    return Layout(
        blocks,
        np.memmap(folder / ROOT_FILE, np.uint8, "r")[: root["shape"][0]],
        count,
        dim,
        manifest["metric"] == "l2",
        entry["gain"],
        entry["edge_rms"],
    )
