"""Callers who dribble, dial and wait, and a good one beside them."""

from __future__ import annotations

import socket

from patience import patient
from serving import Server

PATH = "/v1/indexes/docs/search"
HEAD = f"POST {PATH} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
LONG_S = patient(60)


def dial(server: Server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", int(server.url.rsplit(":", 1)[1])), LONG_S)


def good(server: Server) -> None:
    with server.client() as client:
        assert client.post(PATH, json={"id": "a01"}).status_code == 200
