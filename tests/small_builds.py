"""A small generation of random vectors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from indexing import clustered, names

from index import build_generation

DIM = 24


def built(root: Path, count: int = 400, **settings: Any) -> Path:
    settings = {"family": "flat", "name": "test"} | settings
    return build_generation(clustered(count, DIM), names(count), root=root, **settings)
