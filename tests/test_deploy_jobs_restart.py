"""The one call that the rebuild makes to Kubernetes, as an API server receives it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from deploy.jobs.restart import restart


class Api(HTTPServer):
    """Answers like an API server that knows one Deployment and one token."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.received: list[dict[str, Any]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Api

    def do_PATCH(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        allowed = self.headers["Authorization"] == "Bearer secret"
        self.server.received.append({"path": self.path, "type": self.headers["Content-Type"], "body": body})
        self.send_response(200 if allowed else 403)
        self.end_headers()
        self.wfile.write(b"{}" if allowed else b'{"message": "deployments.apps is forbidden"}')

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture
def api() -> Iterator[Api]:
    with Api() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_the_pod_template_is_annotated_and_nothing_else(api: Api, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secret\n")
    restart("search", "demo-perwatt", account=tmp_path, server=api.url)
    [received] = api.received
    assert received["path"] == "/apis/apps/v1/namespaces/search/deployments/demo-perwatt"
    assert received["type"] == "application/strategic-merge-patch+json"
    annotations = received["body"]["spec"]["template"]["metadata"]["annotations"]
    assert received["body"] == {"spec": {"template": {"metadata": {"annotations": annotations}}}}
    assert list(annotations) == ["kubectl.kubernetes.io/restartedAt"]


def test_a_refusal_is_told(api: Api, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("another")
    with pytest.raises(SystemExit, match=r"refused to restart demo-perwatt: 403 .*forbidden"):
        restart("search", "demo-perwatt", account=tmp_path, server=api.url)
