"""A path without what CI has."""

from __future__ import annotations

from pathlib import Path

import pytest
from ci_scripts import without


@pytest.fixture
def bare(tmp_path: Path) -> str:
    return without(tmp_path, "docker", "gh", "skopeo")
