"""What tests of races enter, engines of `racing_engines.py`, and a small set to race on."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from indexing import clustered
from patience import patient

from index.bench.ann.engine import Entry, Ladder
from index.bench.ann.vectors import AnnWorkload

TESTS = Path(__file__).parent


def entry(name: str, kind: str = "Plain", ladder: Ladder | None = None, package: str = "numpy", **more: Any) -> Entry:
    return Entry(name, name.title(), package, f"racing_engines:{kind}", ladder or Ladder(250, 4000, 2), **more)


def findable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers are processes of their own; they find the engines by their module's name."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(TESTS), str(TESTS.parent)]))


def clusters() -> AnnWorkload:
    rows = clustered(1250, 64, seed=3)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return AnnWorkload("clusters", rows[:1200], rows[1200:], "cosine")


def eventually(is_so: Callable[[], bool]) -> bool:
    """A signal is delivered when the kernel gets to it."""
    limit_s = time.monotonic() + patient(60)
    while not is_so():
        if time.monotonic() > limit_s:
            return False
        signal.sigtimedwait([], 0.05)
    return True
