"""What asks a service that starts beside it waits for it, and not for ever."""

from __future__ import annotations

import http.server
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from deploy.ready import wait

STATUSES: list[int] = []


class Loading(http.server.BaseHTTPRequestHandler):
    """Answers what `STATUSES` says, the last of it for ever."""

    def do_GET(self) -> None:
        ready = self.path == "/readyz"
        self.send_response(404 if not ready else STATUSES.pop(0) if len(STATUSES) > 1 else STATUSES[0])
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_arguments: object) -> None:
        pass


@pytest.fixture
def service() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Loading)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_service_that_loads_is_waited_for(service: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    STATUSES[:] = [503, 503, 200]
    assert wait(service, 30, pause_s=0.01) < 30
    assert STATUSES == [200]


def test_a_service_that_never_gets_ready_is_named_with_its_last_answer(service: str) -> None:
    STATUSES[:] = [503]
    with pytest.raises(SystemExit, match=rf"{service}/readyz was not ready within 0.05 s: it answers 503"):
        wait(service, 0.05, pause_s=0.01)


def test_nobody_listening_yet_is_waited_for_too() -> None:
    command = [sys.executable, "-m", "deploy.ready", "http://127.0.0.1:1", "0"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 1
    assert "http://127.0.0.1:1/readyz was not ready within 0 s: it does not answer (" in ran.stderr
