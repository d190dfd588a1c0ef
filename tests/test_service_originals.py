"""An index without its originals says so over HTTP, in one piece and behind a router."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from indexing import clustered, write_vectors_folder
from routed import in_process

DIM, COUNT = 16, 700


def test_an_exact_search_says_that_it_went_by_codes(tmp_path: Path) -> None:
    ids, payload = [f"d{row:03}" for row in range(COUNT)], [{"title": f"word{row % 7}"} for row in range(COUNT)]
    folder = write_vectors_folder(tmp_path / "v", ids, clustered(COUNT, DIM), payload, bare=True)
    asked: dict[str, Any] = {"vector": clustered(1, DIM, seed=9)[0].tolist(), "k": 3}
    how: dict[str, Any] = {"family": "graph", "recall_target": 0.5}
    with in_process(folder, tmp_path / "served", 2, originals="drop", **how) as rig:
        found = []
        for app in (rig.one, rig.many):
            info = app("GET", "/v1/indexes/docs").json()
            assert info["originals"] == "drop"
            assert 0 < info["bytes"]["vector"] <= -(-info["bytes"]["memory"] // 100)
            exact = app.post("search", asked | {"params": {"exact": True}})
            assert exact["coverage"]["exact"] is exact["coverage"]["codes"] is True
            assert app.post("search", asked)["coverage"]["codes"] is True
            words = app.post("search", {"text": "word3", "mode": "lexical", "k": 3})
            assert len(words["hits"]) == 3
            assert "codes" not in words["coverage"]
            assert "found by codes as an exact search finds them" in app.post("recall", {"queries": 20})["method"]
            found.append([hit["id"] for hit in exact["hits"]])
        assert found[0] == found[1]
