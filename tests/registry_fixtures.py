"""A registry of one index, in this process; a test module asks for it with `pytest_plugins = ["registry_fixtures"]`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from bare_index import build

from index import Root
from service.query.index_registry import IndexRegistry


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[IndexRegistry]:
    build(tmp_path, 1)
    loaded = IndexRegistry(Root(tmp_path), ["bare"], None, 1)
    loaded.load_all()
    yield loaded
    loaded.close()
