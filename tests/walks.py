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
    packed: bool | None = None,
) -> Layout:
    count, dim = vectors.shape
    roots = layout.sampled_roots(count)
    if packed is None:
        packed = layout.is_packed(count, profile)
    sizes = layout.row_bytes(dim, profile, originals, packed=packed)
    blocks = np.zeros(count * sizes[layout.BLOCKS_FILE], np.uint8)
    spokes = np.zeros(count * sizes[layout.SPOKES_FILE], np.uint8) if profile == "compact" else None
    rests = np.zeros(count * sizes[layout.RESTS_FILE], np.uint8) if originals == "drop" else None
    root = np.zeros(_native.root_bytes(dim, len(roots)), np.uint8)
    which = roots.astype(np.int32)
    gain, edge_rms, code_norm, rest_norm = _native.encode(
        vectors, links, which, l2, blocks, root, threads, unit, spokes, rests, packed=packed
    )
    return Layout(blocks, root, count, dim, l2, gain, edge_rms, spokes, rests, code_norm, rest_norm, packed)


def recall_at(generation: Generation, queries: NDArray[np.float32], k: int, effort: int | None, **how: Any) -> float:
    """Share of the best k by score, so that equal vectors stand for one another."""
    scores = generation.search_rows(queries, k, effort, **how).scores
    truth = generation.search_rows(queries, k, exact=True, **how).scores
    return float((scores >= truth[:, -1:]).mean())
