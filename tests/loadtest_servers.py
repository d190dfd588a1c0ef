"""Small real servers for the load harness's tests: each behaves in one stated way over real sockets."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from loadtest.generator.null_server import RESPONSE, request_end

Answer = Callable[[int, socket.socket], bool]  # (number of the request, connection) → keep the connection


def answer_at_once(_number: int, connection: socket.socket) -> bool:
    connection.sendall(RESPONSE)
    return True


@contextlib.contextmanager
def scripted_server(answer: Answer = answer_at_once) -> Iterator[str]:
    """A server whose every answer is `answer`'s business; yields its URL."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    count = iter(range(10**9))
    connections: list[socket.socket] = []

    def talk(connection: socket.socket) -> None:
        data = b""
        with contextlib.suppress(OSError):
            while chunk := connection.recv(65_536):
                data += chunk
                while end := request_end(data):
                    data = data[end:]
                    if not answer(next(count), connection):
                        connection.shutdown(socket.SHUT_RDWR)
                        connection.close()
                        return

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                connections.append(connection)
                threading.Thread(target=talk, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.close()
        for connection in connections:
            connection.close()


@contextlib.contextmanager
def http_server(answers: Callable[[str, str, bytes, dict[str, str]], tuple[int, Any]]) -> Iterator[str]:
    """`answers(method, path, body, headers)` → (status, object or text); yields the URL."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # head and body are two writes: the second would wait 40 ms for the first's ACK

        def _any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, found = answers(self.command, self.path, body, {k.lower(): v for k, v in self.headers.items()})
            data = found.encode() if isinstance(found, str) else json.dumps(found).encode()
            with contextlib.suppress(OSError):  # whoever asked may be gone
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

        do_GET = do_POST = do_PUT = _any  # noqa: N815 – the names that http.server looks for

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
