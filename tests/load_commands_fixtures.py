"""A service under load and its questions.

questions    forty, in a file
warm_locust  generators that this process starts are forks of one that has imported Locust already
"""

from __future__ import annotations

from pathlib import Path

import pytest
from warm_locust import start_locust


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    path = tmp_path / "queries.txt"
    path.write_text("\n".join(f"question {i}" for i in range(40)))
    return path


@pytest.fixture
def warm_locust(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("loadtest.generator.run", "loadtest.generator.workers.loop"):
        monkeypatch.setattr(f"{module}.start_locust", start_locust)
