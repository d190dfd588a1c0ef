"""What one machine finds in generations that another one built, for both to be compared: same_answers.py FOLDER OUT.npz

FOLDER holds generations (any depth) and queries.npy. For each generation and each unit of index/kernels that can run
here: rows and scores of several ways to search, and for a graph a digest of its sections, made anew from index.faiss.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from index import kernels, open_generation
from index.build import graph
from index.disk import layout
from index.disk.manifest import MANIFEST_FILE
from index.kernels import _native
from index.search.untyped import faiss

SECTIONS = (layout.BLOCKS_FILE, layout.SPOKES_FILE, layout.ROOT_FILE)


def digests(folder: Path) -> dict[str, str]:
    return {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in SECTIONS if (folder / name).exists()
    }


def sections_anew(folder: Path, metric: str, profile: layout.Profile) -> dict[str, str]:
    """From nothing but index.faiss."""
    index = faiss.read_index(str(folder / "index.faiss"))
    vectors = graph.float_rows(graph.storage_of(index))
    with tempfile.TemporaryDirectory() as made:
        layout.write(Path(made), vectors, graph.links_of(index), 2, l2=metric == "l2", profile=profile)
        return digests(Path(made))


def answers(folder: Path, queries: NDArray[np.float32]) -> dict[str, Any]:
    """Of the unit that is in use."""
    found: dict[str, Any] = {}
    with open_generation(folder, threads=2) as generation:
        keep = np.arange(generation.count) % 3 == 1
        ways: dict[str, tuple[int, dict[str, Any]]] = {
            "best 10": (10, {}),
            "best 100": (100, {"effort": 60}),
            "one": (1, {"effort": 10}),
            "more than there are": (generation.count + 1, {"exact": True}),
            "exact": (10, {"exact": True}),
            "filtered": (10, {"keep": keep}),
            "filtered, exact": (10, {"keep": keep, "exact": True}),
        }
        for way, (k, how) in ways.items():
            asked = queries[:5] if k > 100 else queries
            rows, scores, _ = generation.search_rows(asked, k, **how)
            found[f"{way}|rows"], found[f"{way}|scores"] = rows, scores
        if generation.profile is not None and generation.originals == "keep":
            for name, digest in sections_anew(folder, generation.metric, generation.profile).items():
                found[f"{name}|sha256"] = np.array(digest)
    return found


def main() -> None:
    folder, out = Path(sys.argv[1]), Path(sys.argv[2])
    queries = np.load(folder / "queries.npy")
    found = {}
    for unit in kernels.units():
        assert _native.use(unit)
        for manifest in sorted(folder.rglob(MANIFEST_FILE)):
            some = answers(manifest.parent, queries)
            found |= {f"{unit}|{manifest.parent.name}|{name}": values for name, values in some.items()}
    np.savez(out, **found)


if __name__ == "__main__":
    main()
