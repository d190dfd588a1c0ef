"""Requests as bytes on a socket, where a client would tidy them up."""

from __future__ import annotations

import socket

PATH = "/v1/indexes/docs/search"


def send(connection: socket.socket, body: bytes, *headers: str, path: str = PATH) -> None:
    head = "".join(f"{line}\r\n" for line in (f"POST {path} HTTP/1.1", "host: localhost", *headers))
    connection.sendall(f"{head}content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body)


def _more(connection: socket.socket) -> bytes:
    if not (piece := connection.recv(65536)):
        raise ConnectionError("closed before the end of an answer")
    return piece


def receive(connection: socket.socket, had: bytearray) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of one answer; `had` keeps what came after it."""
    while (end := had.find(b"\r\n\r\n")) < 0:
        had += _more(connection)
    lines = had[:end].decode("latin-1").split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines[1:])
    length = end + 4 + int(headers["content-length"])
    while len(had) < length:
        had += _more(connection)
    body = bytes(had[end + 4 : length])
    del had[:length]
    return int(lines[0].split()[1]), headers, body


def ask(connection: socket.socket, body: bytes, *headers: str, path: str = PATH) -> tuple[int, dict[str, str], bytes]:
    send(connection, body, *headers, path=path)
    return receive(connection, bytearray())
