"""Fixtures around `serving`; a test module asks for them with `pytest_plugins = ["serving_fixtures"]`.

root      an index `docs` (text, SERVED_PRECISION) and one `bare` (vectors of 8 dimensions, no model), for reading only
server    serves them for the whole session
client    talks to it
own_root  a copy of root that a test may switch, damage and build in; `serving(own_root, …)` starts a server on it
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from once import once
from serving import Server, build_docs, serving


@pytest.fixture(scope="session")
def root(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from index import build_generation

    def make(folder: Path) -> None:
        build_docs(folder, request.getfixturevalue("served_encoder"))
        generator = np.random.default_rng(3)
        build_generation(
            generator.standard_normal((500, 8), np.float32), list(range(500)), root=folder, name="bare", metric="l2"
        )

    # A copy, since servers of several processes would meet in one.
    return Path(shutil.copytree(once(tmp_path_factory, "root", make), tmp_path_factory.mktemp("served") / "root"))


@pytest.fixture
def own_root(root: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(root, tmp_path / "root"))


@pytest.fixture(scope="session")
def server(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(root, tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture
def client(server: Server) -> Iterator[httpx.Client]:
    with server.client() as talking:
        yield talking
