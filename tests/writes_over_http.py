"""Documents written over HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx

BAKING = {"id": "n1", "payload": {"title": "Rye bread", "text": "Bake rye bread in a hot oven with steam.", "words": 9}}


def made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def put(client: httpx.Client, *documents: Any, index: str = "docs") -> Any:
    answer = client.put(f"/v1/indexes/{index}/documents", json={"documents": list(documents)})
    assert answer.status_code == 200, answer.text
    return answer.json()


def ids(client: httpx.Client, index: str = "docs", **query: Any) -> list[str]:
    answer = client.post(f"/v1/indexes/{index}/search", json=query)
    assert answer.status_code == 200, answer.text
    return [hit["id"] for hit in answer.json()["hits"]]
