"""A service that takes writes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from serving import Server, serving
from writes_over_http import made


@pytest.fixture
def writable(own_root: Path, tmp_path: Path) -> Iterator[Server]:
    with serving(own_root, made(tmp_path / "server")) as running:
        yield running


@pytest.fixture
def talking(writable: Server) -> Iterator[httpx.Client]:
    with writable.client() as client:
        yield client
