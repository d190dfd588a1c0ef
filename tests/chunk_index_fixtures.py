"""A server of documents in chunks."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from chunk_index import DIM, rows
from once import once
from serving import Server, serving

from index import build_generation


@pytest.fixture(scope="module")
def chunks_folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    def make(root: Path) -> None:
        encoder, payload = request.getfixturevalue("served_encoder"), rows()
        build_generation(
            encoder.encode([row["text"] for row in payload], kind="document"),
            [f"c{place:03}" for place in range(len(payload))],
            root=root, name="chunks", payload=payload, model=encoder.fingerprint.as_dict(),
            filterable=["doc_id,number,even"], family="graph",
        )  # fmt: skip
        wordless = np.random.default_rng(1).standard_normal((50, DIM), np.float32)
        build_generation(wordless, list(range(50)), root=root, name="wordless", payload=[{"n": 1}] * 50)

    return Path(shutil.copytree(once(tmp_path_factory, "chunks", make), tmp_path_factory.mktemp("chunks") / "root"))


@pytest.fixture(scope="module")
def chunks_server(chunks_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(chunks_folder, tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture
def chunks_client(chunks_server: Server) -> Iterator[httpx.Client]:
    with chunks_server.client() as talking:
        yield talking
