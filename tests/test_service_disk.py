"""An index whose rows are read from its files when they are asked for, behind a server: what its callers notice."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from indexing import clustered, names
from serving import serving

from index import build_generation

COUNT, DIM = 1500, 24
SEARCH = "/v1/indexes/docs/search"


@pytest.fixture
def generation(tmp_path: Path) -> Path:
    payload = [{"text": f"water {row}"} for row in range(COUNT)]
    how: dict[str, Any] = {"root": tmp_path / "root", "name": "docs", "profile": "disk", "recall_target": 0.8}
    return build_generation(clustered(COUNT, DIM), names(COUNT), payload=payload, **how)


def test_rows_that_cannot_be_read_are_said_and_cost_nothing_else(generation: Path, tmp_path: Path) -> None:
    near, words = {"vector": clustered(1, DIM, seed=5)[0].tolist(), "k": 3}, {"text": "water 7", "mode": "lexical"}
    exactly, alike = near | {"params": {"exact": True}}, {"id": "doc-7", "k": 3}
    records = generation / "lists.records"
    whole = records.read_bytes()
    with serving(tmp_path / "root", tmp_path) as server, server.client() as client:
        before = [client.post(SEARCH, json=query).json()["hits"] for query in (near, exactly, alike)]
        os.truncate(records, 4096)
        for query in (exactly, alike):
            refused = client.post(SEARCH, json=query)
            assert (refused.status_code, refused.json()["code"]) == (500, "internal")
            assert "could not be read" in refused.json()["detail"]
            assert "`perwatt verify` checks all files" in refused.json()["detail"]
            assert str(tmp_path) not in refused.text
        server.wait_for_log("lists.records: was cut short after it was opened")
        assert client.post(SEARCH, json=words).json()["hits"][0]["payload"] == {"text": "water 7"}
        with records.open("r+b") as file:
            file.write(whole)
        assert [client.post(SEARCH, json=query).json()["hits"] for query in (near, exactly, alike)] == before
