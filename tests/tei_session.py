"""A session with text-embeddings-inference, written down from its documentation, since it does not run here.

The routes, members and examples are those of docs/openapi.json of github.com/huggingface/text-embeddings-inference at
version 1.7.1 (commit 006e16b702263e09686b33f9152a5ad0f9468085); answers are its examples, in its shapes. The header
with the count of tokens is set by router/src/http/server.rs of the same version. Read in November 2026.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

SOURCE = "https://github.com/huggingface/text-embeddings-inference/blob/v1.7.1/docs/openapi.json (1.7.1)"


class Told(NamedTuple):
    """A request and its answer. asked: its body, None for none."""

    method: str
    path: str
    asked: Any
    answer: Any
    headers: dict[str, str] | None = None
    status: int = 200


INFO = {
    "model_id": "thenlper/gte-base", "model_sha": "fca14538aa9956a46526bd1d0d11d69e19b5a101", "model_dtype": "float16",
    "model_type": {"embedding": {"pooling": "cls"}}, "max_concurrent_requests": 128, "max_input_length": 512,
    "max_batch_tokens": 2048, "max_batch_requests": None, "max_client_batch_size": 32, "auto_truncate": False,
    "tokenization_workers": 4, "version": "1.7.1", "sha": None, "docker_label": None,
}  # fmt: skip
CANARIES = [
    "How do I rotate an API key?",
    "The moon covers the sun completely and the corona becomes visible.",
    "SELECT id, name FROM users WHERE created_at > now() - interval '7 days'",
    "Une omelette aux champignons, à point, s'il vous plaît.",
]
OVERLOADED = {"error": "Model is overloaded", "error_type": "Overloaded"}
QUERY = {"inputs": ["What is Deep Learning?"], "normalize": True, "truncate": True}
SESSION = [
    Told("GET", "/info", None, INFO),
    Told("POST", "/embed", {**QUERY, "inputs": CANARIES}, [[0.0, 1.0, 2.0]] * 4, {"x-compute-tokens": "60"}),
    Told("POST", "/embed", QUERY, OVERLOADED, None, 429),
    Told("POST", "/embed", QUERY, [[0.0, 1.0, 2.0]], {"x-compute-tokens": "7"}),
]


@contextmanager
def replayed(session: Sequence[Told]) -> Iterator[tuple[str, list[tuple[str, str, Any]]]]:
    """A server that answers with the session in its order; its address, and what it was sent."""
    sent: list[tuple[str, str, Any]] = []
    left = iter(session)

    class Replay(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            size = int(self.headers.get("content-length", 0))
            sent.append((self.command, self.path, json.loads(self.rfile.read(size)) if size else None))
            told = next(left)
            content = json.dumps(told.answer).encode()
            self.send_response(told.status)
            for name, value in {**(told.headers or {}), "content-length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_GET  # noqa: N815 - the name that http.server calls

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Replay)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", sent
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
