"""Graphs that tests walk, and how much of what brute force finds they find."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from index.disk import layout
from index.disk.layout import Layout, Originals, Profile
from index.kernels import _native
from index.search.generation import Generation

METRICS = ("cosine", "ip", "l2")
DIM, COUNT = 48, 5000


def encoded(
    vectors: NDArray[np.float32],
    links: NDArray[np.int32],
    l2: bool,
    threads: int = 1,
    unit: str = "",
    profile: Profile = "compact",
    originals: Originals = "keep",
) -> Layout:
    count, dim = vectors.shape
    roots = layout.sampled_roots(count)
    sizes = layout.row_sizes(count, dim, profile, originals)
    blocks = np.zeros(sizes[layout.BLOCKS_FILE], np.uint8)
    spokes = np.zeros(sizes[layout.SPOKES_FILE], np.uint8) if profile == "compact" else None
    rests = np.zeros(sizes[layout.RESTS_FILE], np.uint8) if originals == "drop" else None
    root = np.zeros(_native.root_bytes(dim, len(roots)), np.uint8)
    which = roots.astype(np.int32)
    gain, edge_rms, *norms = _native.encode(vectors, links, which, l2, blocks, root, threads, unit, spokes, rests)
    return Layout(blocks, root, count, dim, l2, gain, edge_rms, spokes, rests, *norms)


def recall_at(generation: Generation, queries: NDArray[np.float32], k: int, effort: int | None, **how: Any) -> float:
    """Share of the best k by score, so that equal vectors stand for one another."""
    scores = generation.search_rows(queries, k, effort, **how).scores
    truth = generation.search_rows(queries, k, exact=True, **how).scores
    return float((scores >= truth[:, -1:]).mean())
