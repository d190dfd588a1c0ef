"""Small graphs of every metric and their queries."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
from indexing import clustered, names
from numpy.typing import NDArray
from once import once
from walks import COUNT, DIM, METRICS

from index import Root, build_generation
from index.build.families import PROFILES
from index.disk.codes import Metric
from index.disk.layout import Profile


@pytest.fixture(scope="module", params=[(metric, profile) for metric in METRICS for profile in PROFILES], ids="-".join)
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    metric, profile = request.param
    make = partial(build_walk, metric=metric, profile=profile)
    return Root(once(tmp_path_factory, f"walk-{metric}-{profile}", make)).path("walk")


def build_walk(root: Path, *, metric: Metric, profile: Profile) -> None:
    vectors = clustered(COUNT, DIM)
    vectors[100:160] = vectors[100]
    vectors[200:203] = 0 if metric != "cosine" else vectors[3]
    # One thread: with several, FAISS links rows in the order in which they happen to come, and recall differs a little.
    build_generation(
        vectors, names(COUNT), root=root, name="walk", family="graph", metric=metric, profile=profile, threads=1
    )


@pytest.fixture(scope="module")
def queries() -> NDArray[np.float32]:
    return clustered(500, DIM, seed=77)
