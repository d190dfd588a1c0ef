"""Vectors into Chroma over its HTTP API; how it is searched is in chroma.toml."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx

from loadtest.errors import TargetError, WorkloadError
from loadtest.targets.loading import LoadedRows

COLLECTIONS = "/api/v2/tenants/default_tenant/databases/default_database/collections"
HNSW = ("ef_construction", "ef_search", "max_neighbors")
SPACES = {"cosine": "cosine", "ip": "ip", "l2": "l2"}
TIMEOUT_S = 300.0  # adding a thousand rows builds the graph of as many


def fill(url: str, index: str, rows: Iterator[LoadedRows], metric: str, settings: dict[str, str]) -> int:
    """Makes the collection `index` and adds all rows; returns how many.

    Args:
        settings: of its HNSW graph, by Chroma's names.

    Raises WorkloadError for a setting that there is not, TargetError where Chroma refuses, as for a collection that is
    there already.
    """
    if unknown := sorted(settings.keys() - set(HNSW)):
        raise WorkloadError(f"Chroma has no setting {unknown[0]}; there are: {', '.join(HNSW)}")
    hnsw: dict[str, Any] = {"space": SPACES[metric], **{name: int(value) for name, value in settings.items()}}
    count = 0
    with httpx.Client(base_url=url, timeout=TIMEOUT_S, trust_env=False) as client:
        made = _answered(client, COLLECTIONS, {"name": index, "configuration": {"hnsw": hnsw}})
        for part in rows:
            scalars = [
                {name: value for name, value in payload.items() if isinstance(value, str | int | float)}
                for payload in part.payloads
            ]
            body = {
                "ids": part.ids,
                "embeddings": part.vectors.tolist(),
                "metadatas": [payload or None for payload in scalars],
            }
            _answered(client, f"{COLLECTIONS}/{made['id']}/add", body)
            count += len(part.ids)
    return count


def _answered(client: httpx.Client, path: str, body: dict[str, Any]) -> Any:
    try:
        answer = client.post(path, json=body)
    except httpx.HTTPError as error:
        raise TargetError(f"no answer from {client.base_url}: {error!r}") from error
    if answer.status_code not in (200, 201):
        raise TargetError(f"Chroma answers {path} with {answer.status_code}: {answer.text[:500]}")
    return answer.json()
