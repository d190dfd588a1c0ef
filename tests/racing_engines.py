"""Engines for tests of races. Workers import this module by its name, each anew: so it imports no more than they do."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from index.bench.ann.engine import Float, Metric, Setting


class Plain:
    """An engine that looks at the first `effort` rows only; as an adapter outside the package it must be importable."""

    def build(self, vectors: Float, metric: Metric, threads: int, folder: Path) -> None:
        self._vectors = vectors

    def save(self, folder: Path) -> dict[str, Any]:
        np.save(folder / "rows.npy", self._vectors)
        return {"note": "kept", "mapped": isinstance(self._vectors, np.memmap)}

    def load(self, folder: Path, rows: int, dim: int, metric: Metric) -> None:
        self._vectors = np.load(folder / "rows.npy")

    def search(self, queries: Float, k: int, setting: Setting, threads: int) -> NDArray[Any]:
        return np.argsort(-(queries @ self._vectors[: setting.effort].T), axis=1, kind="stable")[:, :k]


class ReadsFiles(Plain):
    reads_files = True


class DiesInBuild(Plain):
    def build(self, vectors: Float, metric: Metric, threads: int, folder: Path) -> None:
        print("the last thing it said", flush=True)
        os.kill(os.getpid(), signal.SIGSEGV)


class DiesInSearch(Plain):
    """The first searches, which find the recall, go well."""

    def search(self, queries: Float, k: int, setting: Setting, threads: int) -> NDArray[Any]:
        if len(queries) > 32 and (Path.cwd() / "armed").exists():
            os.abort()
        return super().search(queries, k, setting, threads)


class Refuses(Plain):
    def build(self, vectors: Float, metric: Metric, threads: int, folder: Path) -> None:
        raise ValueError("no such thing")


class Greedy(Plain):
    """Takes 256 MiB when it is asked for few queries at a time, as a timed pass does."""

    def search(self, queries: Float, k: int, setting: Setting, threads: int) -> NDArray[Any]:
        if len(queries) == 1:
            self._taken = np.ones(32 << 20)
        return super().search(queries, k, setting, threads)
