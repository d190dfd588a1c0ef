"""Small graphs of every metric and their queries."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from indexing import clustered, names
from numpy.typing import NDArray
from walks import COUNT, DIM, METRICS

from index import build_generation
from index.build.families import PROFILES


@pytest.fixture(scope="module", params=[(metric, profile) for metric in METRICS for profile in PROFILES], ids="-".join)
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    vectors = clustered(COUNT, DIM)
    vectors[100:160] = vectors[100]
    metric, profile = request.param
    vectors[200:203] = 0 if metric != "cosine" else vectors[3]
    root = tmp_path_factory.mktemp("walk")
    # One thread: with several, FAISS links rows in the order in which they happen to come, and recall differs a little.
    how = {"family": "graph", "metric": metric, "profile": profile, "threads": 1}
    return build_generation(vectors, names(COUNT), root=root, name="walk", **how)


@pytest.fixture(scope="module")
def queries() -> NDArray[np.float32]:
    return clustered(500, DIM, seed=77)
