"""perwatt itself: a generation, built and opened as anyone would."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from index import Generation, Root, build_generation, open_generation
from index.bench.ann.engine import Float, Metric, Setting

NAME = "bench"


class Perwatt:
    """`exact` searches every vector; `huge_pages` is open_generation's; the rest is a build's."""

    def __init__(
        self,
        family: str = "graph",
        *,
        profile: str = "speed",
        builder: str = "auto",
        originals: str = "keep",
        exact: bool = False,
        huge_pages: bool = False,
    ) -> None:
        self._family, self._profile, self._exact, self._huge_pages = family, profile, exact, huge_pages
        self._builder, self._originals = builder, originals
        self._folder = Path()
        self._opened: dict[int, Generation] = {}

    def build(self, vectors: Float, metric: Metric, threads: int, folder: Path) -> None:
        """All of it: rows checked, recall measured, files written, hashed, read again and compared."""
        self._folder = build_generation(
            vectors,
            np.arange(len(vectors)),
            root=folder,
            name=NAME,
            family=self._family,
            profile=self._profile,
            builder=self._builder,
            originals=self._originals,
            metric=metric,
            threads=threads,
            switch=False,
        )

    def save(self, folder: Path) -> dict[str, Any]:
        with open_generation(self._folder, verify=False) as generation:
            manifest = generation.manifest
        return {
            "step_seconds": {step: round(seconds, 2) for step, seconds in manifest["build"]["step_seconds"].items()},
            "read_by_searches_bytes": _read_by_searches(manifest, self._folder),
        }

    def load(self, folder: Path, rows: int, dim: int, metric: Metric) -> None:
        root = Root(folder)
        self._folder = root.path(NAME, root.generations(NAME)[-1])
        self._opened = {1: open_generation(self._folder, threads=1, huge_pages=self._huge_pages)}

    def search(self, queries: Float, k: int, setting: Setting, threads: int) -> NDArray[Any]:
        if threads not in self._opened:
            # Only one at a time, or the copy in huge pages would be counted twice.
            self._opened = {}
            self._opened[threads] = open_generation(
                self._folder, threads=threads, verify=False, huge_pages=self._huge_pages
            )
        return self._opened[threads].search(queries, k, setting.effort, exact=self._exact)[0]


def _read_by_searches(manifest: dict[str, Any], path: Path) -> int:
    """Bytes of the structure that a search goes through: not the float32 rows, of which it reads k."""
    sections = [path / name for name in manifest["sections"] if name.startswith("graph.")]
    if manifest["family"] == "graph":
        return sum(section.stat().st_size for section in sections)
    return int(manifest["memory_private_bytes"])
