"""The HTTP protocol of uvicorn with one change: bytes that are no HTTP request are answered with a problem object too.

Here, below the application, is also the place for limits on how slowly a head or a body may arrive.
"""

from __future__ import annotations

import secrets

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.problems import MEDIA_TYPE, Problem


class Protocol(HttpToolsProtocol):
    def send_400_response(self, msg: str) -> None:
        request_id = secrets.token_hex(8)
        problem = Problem("invalid-value", "These bytes are not an HTTP request.", status=400, title="Not HTTP")
        body = problem.body(request_id)
        head = (
            "HTTP/1.1 400 Bad Request\r\n"
            f"content-type: {MEDIA_TYPE}\r\n"
            f"content-length: {len(body)}\r\n"
            f"x-request-id: {request_id}\r\n"
            "connection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()
