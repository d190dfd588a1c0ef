"""perwatt's lists on the disk: a generation of the profile, built and opened as anyone would."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from index import Root, open_generation
from index.bench.ann.engine import Metric
from index.bench.ann.ours import NAME, Perwatt
from index.disk.lists import PROFILE


class PerwattOnDisk(Perwatt):
    """Opened without reading all of it for its hashes first, which would fill the page cache."""

    reads_files = True  # is built from rows that do not fit in memory

    def __init__(self) -> None:
        super().__init__("auto", profile=PROFILE)

    def save(self, folder: Path) -> dict[str, Any]:
        figures = super().save(folder)
        del figures["read_by_searches_bytes"]
        return figures

    def load(self, folder: Path, rows: int, dim: int, metric: Metric) -> None:
        root = Root(folder)
        self._folder = root.path(NAME, root.generations(NAME)[-1])
        self._opened = {1: open_generation(self._folder, threads=1, verify=False)}

    def reads(self) -> int:
        """Records that were read so far, from the disk or the page cache."""
        searcher: Any = self._opened[1]._searcher
        return int(searcher.reads)
