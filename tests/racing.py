"""Engines for tests of races, which workers import by this module's name, and a small set to race on."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from indexing import clustered
from numpy.typing import NDArray

from index.bench.ann.engine import Entry, Float, Ladder, Metric, Setting
from index.bench.ann.vectors import AnnWorkload

TESTS = Path(__file__).parent


class Plain:
    """An engine that looks at the first `effort` rows only; as an adapter outside the package it must be importable."""

    def build(self, vectors: Float, metric: Metric, threads: int, folder: Path) -> None:
        self._vectors = vectors

    def save(self, folder: Path) -> dict[str, Any]:
        np.save(folder / "rows.npy", self._vectors)
        return {"note": "kept"}

    def load(self, folder: Path, rows: int, dim: int, metric: Metric) -> None:
        self._vectors = np.load(folder / "rows.npy")

    def search(self, queries: Float, k: int, setting: Setting, threads: int) -> NDArray[Any]:
        return np.argsort(-(queries @ self._vectors[: setting.effort].T), axis=1, kind="stable")[:, :k]


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


def entry(name: str, kind: str = "Plain", ladder: Ladder | None = None, package: str = "numpy", **more: Any) -> Entry:
    return Entry(name, name.title(), package, f"racing:{kind}", ladder or Ladder(250, 4000, 2), **more)


def findable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers are processes of their own; they find the engines above by this module's name."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(TESTS), str(TESTS.parent)]))


def clusters() -> AnnWorkload:
    rows = clustered(1250, 64, seed=3)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return AnnWorkload("clusters", rows[:1200], rows[1200:], "cosine")


def eventually(is_so: Callable[[], bool]) -> bool:
    """A signal is delivered when the kernel gets to it."""
    for _ in range(400):
        if is_so():
            return True
        signal.sigtimedwait([], 0.05)
    return False
