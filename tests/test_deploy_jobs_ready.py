"""What asks a service that starts beside it waits for it, and not for ever."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from loadtest_servers import http_server

from deploy.jobs.ready import wait

STATUSES: list[int] = []  # that are answered one after the other, the last for ever


def loading(_method: str, path: str, _body: bytes, _headers: dict[str, str]) -> tuple[int, Any]:
    if path != "/readyz":
        return 404, {}
    return (STATUSES.pop(0) if len(STATUSES) > 1 else STATUSES[0]), {}


@pytest.fixture
def service() -> Iterator[str]:
    with http_server(loading) as url:
        yield url


def test_a_service_that_loads_is_waited_for(service: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    STATUSES[:] = [503, 503, 200]
    wait(service, 30, pause_s=0.01)
    assert STATUSES == [200]


def test_a_service_that_never_gets_ready_is_named_with_its_last_answer(service: str) -> None:
    STATUSES[:] = [503]
    with pytest.raises(SystemExit, match=rf"{service}/readyz was not ready within 0.05 s: it answers 503"):
        wait(service, 0.05, pause_s=0.01)


def test_nobody_listening_yet_is_waited_for_too() -> None:
    command = [sys.executable, "-m", "deploy.jobs.ready", "http://127.0.0.1:1", "0"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 1
    assert "http://127.0.0.1:1/readyz was not ready within 0 s: it does not answer (" in ran.stderr
