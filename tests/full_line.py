"""A server whose places are all taken for as long as a test runs."""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from patience import patient
from raw_http import PATH, send
from serving import Server, serving

SLOW = json.dumps(
    {"queries": [{"text": f"{number} " + "word " * 1600} for number in range(256)], "timeout_ms": 60_000}
).encode()


LIMIT_S = patient(60)
FRESH_S = 1.0  # a small part of what the slow ones take on any machine


class Filled:
    """headers: what a caller who may do everything sends."""

    def __init__(self, server: Server, headers: dict[str, str]) -> None:
        self.server = server
        self._headers = headers
        self._taking = ExitStack()
        self._since_s = -LIMIT_S

    @property
    def port(self) -> int:
        return int(self.server.url.rsplit(":", 1)[1])

    def dial(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), LIMIT_S)

    def metrics(self, *names: str) -> list[float]:
        with self.server.client() as client:
            text = client.get("/metrics", headers=self._headers).text
        return [
            float(found[1]) if (found := re.search(rf"^{re.escape(name)} (\S+)$", text, re.M)) else 0.0
            for name in names
        ]

    def fill(self) -> None:
        """Takes all places anew, unless that was just done: what takes them is long, and not without end."""
        if time.monotonic() - self._since_s < FRESH_S:
            return
        self.empty()
        self._until(0.0, 0.0)
        lines = [f"{name}: {value}" for name, value in self._headers.items()]
        for waiting in (0.0, 1.0):
            send(self._taking.enter_context(self.dial()), SLOW, *lines, path=f"{PATH}/batch")
            self._until(1.0, waiting)
        self._since_s = time.monotonic()

    def empty(self) -> None:
        """Hangs up on what takes the places."""
        self._taking.close()

    def _until(self, *wanted: float) -> None:
        limit_s = time.monotonic() + LIMIT_S
        while (now := self.metrics("perwatt_requests_working", "perwatt_requests_waiting")) != list(wanted):
            assert time.monotonic() < limit_s, now


@contextmanager
def filled(root: Path, folder: Path, *arguments: str, **headers: str) -> Iterator[Filled]:
    with serving(root, folder, "--concurrency", "1", "--queue", "1", *arguments) as server:
        full = Filled(server, headers)
        try:
            full.fill()
            yield full
        finally:
            full.empty()


def refused(answer: tuple[int, dict[str, str], bytes]) -> dict[str, Any]:
    status, headers, body = answer
    assert status == 503
    assert int(headers["retry-after"]) >= 1
    content: dict[str, Any] = json.loads(body)
    assert content["code"] == "overloaded"
    assert content.pop("instance") == f"urn:request:{headers['x-request-id']}"
    return content


def request(body: bytes, *headers: str, path: str = PATH) -> bytes:
    lines = ("POST " + path + " HTTP/1.1", "host: localhost", *headers, "content-type: application/json")
    return "".join(f"{line}\r\n" for line in (*lines, f"content-length: {len(body)}", "")).encode() + body
