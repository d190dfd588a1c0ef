"""What an engine is to the benchmark: it builds a folder, loads it, and searches with a setting that trades recall."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float32]
Metric = Literal["cosine", "ip", "l2"]  # for cosine every vector and query has length 1


class Setting(NamedTuple):
    """One way to search: the effort that is swept, and for engines that have two, the second (0: it has none)."""

    effort: int
    second: int = 0


class Engine(Protocol):
    def build(self, vectors: Float, metric: Metric, threads: int, folder: Path) -> None:
        """Indexes float32 (n, dim), until searches could begin; this is what is timed. `folder` is empty."""
        ...

    def save(self, folder: Path) -> dict[str, Any]:
        """Leaves in `folder` all that `load` needs. What it returns is kept with the figures of the build."""
        ...

    def load(self, folder: Path, rows: int, dim: int, metric: Metric) -> None: ...

    def search(self, queries: Float, k: int, setting: Setting, threads: int) -> NDArray[Any]:
        """Rows (q, k), any integer type, −1 or anything that is no row where there are fewer."""
        ...


class Ladder(NamedTuple):
    """The efforts to climb: from `first` (times k if `per_k`) by `step` up to `last`, and the second settings.

    A second setting is a multiple of k that is scored again from exact vectors, where the engine has such a knob.
    """

    first: float
    last: float
    step: float = 1.6
    per_k: bool = False
    seconds: tuple[int, ...] = (0,)

    def efforts(self, k: int) -> list[int]:
        """Ascending, without repetitions; always at least one."""
        effort, top = self.first * (k if self.per_k else 1), self.last * (k if self.per_k else 1)
        found = []
        while effort <= top * 1.001:
            found.append(max(1, round(effort)))
            effort *= self.step
        return sorted(set(found or [max(1, round(self.first))]))


class Entry(NamedTuple):
    name: str
    label: str
    package: str  # the distribution whose version is reported; it must be installed
    place: str  # "module:Class" of the adapter
    ladder: Ladder
    arguments: dict[str, Any] = {}  # noqa: RUF012  # never changed: a table
    settings: str = ""  # what was chosen when it was built, in the engine's own words
    ours: bool = False
    metrics: Sequence[Metric] = ("cosine", "ip", "l2")
    parallel: bool = True  # can answer a batch on several threads
    built_as: str = ""  # an earlier entry whose folder it opens, in another way; default its own
