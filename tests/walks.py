"""Graphs that tests walk, and how much of what brute force finds they find."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from index.disk import layout
from index.disk.layout import DEGREE, Layout, Originals, Profile
from index.kernels import _native
from index.search import exact
from index.search.generation import Generation

METRICS = ("cosine", "ip", "l2")
DIM, COUNT = 48, 5000


def nearest_links(vectors: NDArray[np.float32]) -> NDArray[np.int32]:
    """The DEGREE nearest others of each row, −1 where there are fewer: a poor graph, but a graph."""
    count = len(vectors)
    rows = exact.search(vectors, vectors, min(count, DEGREE + 1), "l2").rows
    links = np.full((count, DEGREE), -1, np.int32)
    for row, near in enumerate(rows):
        others = near[near != row][:DEGREE]
        links[row, : len(others)] = others
    return links


def encoded(
    vectors: NDArray[np.float32],
    links: NDArray[np.int32],
    l2: bool,
    threads: int = 1,
    unit: str = "",
    profile: Profile = "compact",
    originals: Originals = "keep",
    packed: bool | None = None,
) -> Layout:
    count, dim = vectors.shape
    roots = layout.sampled_roots(count)
    if packed is None:
        packed = layout.is_packed(count, profile)
    sizes = layout.row_bytes(dim, profile, originals, packed=packed)
    blocks = np.zeros(count * sizes[layout.BLOCKS_FILE], np.uint8)
    spokes, edges = np.zeros(count * sizes[layout.SPOKES_FILE], np.uint8), profile == "speed"
    rests = np.zeros(count * sizes[layout.RESTS_FILE], np.uint8) if originals == "drop" else None
    root = np.zeros(_native.root_bytes(dim, len(roots)), np.uint8)
    which = roots.astype(np.int32)
    gain, edge_rms, spoke_rms, *norms = _native.encode(
        vectors, links, which, l2, blocks, root, threads, unit, spokes, rests, packed=packed, edges=edges
    )
    return Layout(blocks, root, count, dim, l2, gain, edge_rms, spokes, rests, *norms, packed, edges, spoke_rms)


def recall_at(generation: Generation, queries: NDArray[np.float32], k: int, effort: int | None, **how: Any) -> float:
    """Share of the best k by score, so that equal vectors stand for one another."""
    scores = generation.search_rows(queries, k, effort, **how).scores
    truth = generation.search_rows(queries, k, exact=True, **how).scores
    return float((scores >= truth[:, -1:]).mean())
