"""A small real server of embeddings, in OpenAI's shape and in text-embeddings-inference's, that fails as it is told to.

Its model hashes words; `seed` is which model that is, so another seed is another model under the same name.
"""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from hashing_encoder import HashingEncoder

INFO = {"model_id": "thenlper/gte-base", "max_client_batch_size": 4}


@dataclass
class EncoderServer:
    """What it does with the next requests for vectors, and what it saw.

    Args:
        failures: answers in place of the next ones: status, headers and body; status 0 closes the connection.
        answers: bodies in place of the next vectors.
        slow_s: before each answer.
        batch: texts of a request; more are refused with 413.
        tei: also speaks text-embeddings-inference.
        called: what it calls its model in answers.
    """

    seed: str = "hashing"
    dim: int = 24
    called: str = "hashing-1"
    tei: bool = False
    batch: int = 2048
    slow_s: float = 0.0
    failures: deque[tuple[int, dict[str, str], bytes]] = field(default_factory=deque)
    answers: deque[bytes] = field(default_factory=deque)
    seen: list[tuple[str, dict[str, str], Any]] = field(default_factory=list)
    connections: int = 0
    under_way: int = 0
    most_under_way: int = 0
    released: threading.Event = field(default_factory=threading.Event)
    url: str = ""

    def texts(self) -> list[str]:
        """All that were asked for."""
        return [text for _, _, body in self.seen if body for text in body.get("input", body.get("inputs"))]

    def vectors(self, texts: list[str]) -> list[list[float]]:
        made: list[list[float]] = HashingEncoder(self.dim, self.seed, batch_trace=0).encode(texts).tolist()
        return made if self.seed == "hashing" else [row[::-1] for row in made]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.server.does.connections += 1

    def do_GET(self) -> None:
        does = self.server.does
        does.seen.append((self.path, dict(self.headers), None))
        if self.path == "/info" and does.tei:
            self.answer(200, json.dumps(INFO).encode())
        elif self.path == "/v1/models":
            self.answer(200, json.dumps({"object": "list", "data": [{"id": does.called}]}).encode())
        else:
            self.answer(404, b"{}")

    def do_POST(self) -> None:
        does = self.server.does
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        does.seen.append((self.path, dict(self.headers), body))
        texts = body.get("input", body.get("inputs"))
        does.under_way += 1
        does.most_under_way = max(does.most_under_way, does.under_way)
        try:
            if does.slow_s:
                does.released.wait(does.slow_s)
            self._post(does, texts)
        finally:
            does.under_way -= 1

    def _post(self, does: EncoderServer, texts: list[str]) -> None:
        if does.failures:
            status, headers, content = does.failures.popleft()
            if status:
                self.answer(status, content, headers)
            self.close_connection = not status
        elif does.answers:
            self.answer(200, does.answers.popleft())
        elif len(texts) > does.batch:
            self.answer(413, b'{"error": "Batch size error", "error_type": "validation"}')
        elif self.path == "/embed":
            tokens = {"x-compute-tokens": str(sum(len(text.split()) + 2 for text in texts))}
            self.answer(200, json.dumps(does.vectors(texts)).encode(), tokens)
        else:
            data = [
                {"object": "embedding", "index": at, "embedding": row} for at, row in enumerate(does.vectors(texts))
            ]
            tokens = sum(len(text.split()) + 2 for text in texts)
            usage = {"prompt_tokens": tokens, "total_tokens": tokens}
            self.answer(
                200, json.dumps({"object": "list", "data": data[::-1], "model": does.called, "usage": usage}).encode()
            )

    def answer(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"content-length": str(len(content)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    does: EncoderServer

    def handle_error(self, *_: object) -> None:
        pass  # a client that gave up


@contextmanager
def encoder_server(**does: Any) -> Iterator[EncoderServer]:
    server = _Server(("127.0.0.1", 0), _Handler)
    server.does = EncoderServer(**does, url=f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server.does
    finally:
        server.does.released.set()
        server.shutdown()
        server.server_close()
        thread.join()


def wait_until(true: Any, within_s: float) -> None:
    end_s = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < end_s
        time.sleep(0.01)
