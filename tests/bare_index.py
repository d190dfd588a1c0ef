"""Generations of a small index of vectors alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from index import build_generation


def build(root: Path, seed: int) -> Path:
    """Another generation of `bare`."""
    vectors = np.random.default_rng(seed).standard_normal((30, 8), np.float32)
    return build_generation(vectors, list(range(30)), root=root, name="bare", metric="l2")
