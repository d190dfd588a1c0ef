"""Serves the page of a board on the loopback, from a thread of the process that waits for the generator anyway.

What it costs is measured as the thread's own processor time, shown on the page, and kept in the record, so that nobody
has to believe that looking does not disturb. The browser is another program on this machine; where it runs on the CPUs
of the service or of the generator, the check for other programs counts it.

Only a Host of this machine is answered, so that no page of another site reads along (DNS rebinding).
"""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from loadtest.errors import LoadTestError
from loadtest.live.board import Board
from loadtest.report.html import STYLE

PAGE = Path(__file__).with_name("page.html")
POLL_S = 1.0  # of the page
HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "connect-src 'self'; base-uri 'none'; frame-ancestors 'none'",
}


class LiveServer:
    """url: of the page. cost_s: processor time that it has taken."""

    def __init__(self, board: Board, port: int = 0) -> None:
        self._board = board
        self.cost_s = 0.0
        self._looked_s = -math.inf
        self._lock = threading.Lock()
        page = PAGE.read_text("utf-8").replace("/* STYLE */", STYLE.read_text("utf-8")).encode()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            timeout = 10

            def do_GET(self) -> None:
                outer._answer(self, page)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        class LoopbackServer(ThreadingHTTPServer):
            daemon_threads = True

            def process_request_thread(self, request: Any, client_address: Any) -> None:
                super().process_request_thread(request, client_address)
                with outer._lock:
                    outer.cost_s += time.thread_time()  # of a thread that was born for this request

        try:
            self._http = LoopbackServer(("127.0.0.1", port), Handler)
        except OSError as error:
            raise LoadTestError(f"--watch-port {port}: {error.strerror}; 0 takes a free one") from None
        self.port = self._http.server_port
        self.url = f"http://127.0.0.1:{self.port}/"
        self._thread = threading.Thread(target=self._http.serve_forever, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Once whoever looks has seen the end."""
        if self._looked_s > time.monotonic() - 2 * POLL_S:
            time.sleep(1.5 * POLL_S)
        self._http.shutdown()
        self._http.server_close()

    def _answer(self, request: BaseHTTPRequestHandler, page: bytes) -> None:
        hosts = {f"{name}:{self.port}" for name in ("127.0.0.1", "localhost")}
        parts = urlsplit(request.path)
        if request.headers.get("Host") not in hosts:
            request.send_error(403, "not for a page of another site")
            return
        if parts.path == "/":
            _send(request, page, "text/html; charset=utf-8")
        elif parts.path == "/state":
            after = parse_qs(parts.query).get("after", ["0"])[0]
            state = self._board.state(int(after) if after.isdecimal() else 0)
            self._looked_s = time.monotonic()
            content = json.dumps({**state, "cost_s": round(self.cost_s, 4)}).encode()
            _send(request, content, "application/json")
        else:
            request.send_error(404)


def _send(request: BaseHTTPRequestHandler, content: bytes, kind: str) -> None:
    request.send_response(200)
    for name, value in {"Content-Type": kind, "Content-Length": str(len(content)), **HEADERS}.items():
        request.send_header(name, value)
    request.end_headers()
    request.wfile.write(content)


@contextmanager
def live_server(board: Board, port: int) -> Iterator[LiveServer]:
    server = LiveServer(board, port)
    try:
        yield server
    finally:
        server.stop()
