"""Chroma's own server on a folder, and collections in it."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from patience import patient

from loadtest.experiment.hosted import hosted

COLLECTIONS = "/api/v2/tenants/default_tenant/databases/default_database/collections"


@contextmanager
def chroma_on(folder: Path) -> Iterator[str]:
    """Chroma's server on a folder; its URL."""
    run = (
        f"import chromadb_rust_bindings as c; c.cli(['chroma', 'run', '--path', {str(folder)!r}, '--port', '{{port}}'])"
    )
    with hosted(f"{shlex.quote(sys.executable)} -c {shlex.quote(run)}", ready="/api/v2/heartbeat") as running:
        yield running.url


def fill(url: str, name: str, space: str, function: dict[str, Any] | None, **rows: list[Any]) -> None:
    configuration: dict[str, Any] = {"hnsw": {"space": space}, **({"embedding_function": function} if function else {})}
    with httpx.Client(timeout=patient(60)) as client:
        made = client.post(url + COLLECTIONS, json={"name": name, "configuration": configuration}).raise_for_status()
        client.post(f"{url}{COLLECTIONS}/{made.json()['id']}/add", json=rows).raise_for_status()
