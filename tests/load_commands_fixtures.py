"""A service under load and its questions."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    path = tmp_path / "queries.txt"
    path.write_text("\n".join(f"question {i}" for i in range(40)))
    return path
