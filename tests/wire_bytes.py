"""Requests to every way through the server, as bytes that may be odd, and their answers as bytes."""

from __future__ import annotations

import json
import re
import socket
from typing import Any

from patience import patient
from serving import Server

LONG_S = patient(60)
SEARCH = "/v1/indexes/docs/search"
QUERY = b'{"id": "a01", "k": 3}'
BATCH = b'{"queries": [{"id": "a01", "k": 3}]}'
JSON = "content-type: application/json\r\n"
ODD = JSON + "content-encoding: identity\r\n"  # odd enough for the general way
# Request lines, headers and bodies of every way through the server.
WAYS: dict[str, tuple[str, str, bytes]] = {
    "fast path": (f"POST {SEARCH}", JSON, QUERY),
    "general": (f"POST {SEARCH}", ODD, QUERY),
    "batch": (f"POST {SEARCH}/batch", JSON, BATCH),
    "embeddings": ("POST /v1/embeddings", JSON, b'{"input": "a"}'),
    "livez": ("GET /livez", "", b""),
    "nowhere": ("POST /nowhere", JSON, b"{}"),
}
MINE = "GET /v1/indexes HTTP/1.1\r\nhost: localhost\r\nx-smuggled: yes\r\n\r\n"  # what must not be answered
Answer = tuple[int, dict[str, str], bytes]


def dial(server: Server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", int(server.url.rsplit(":", 1)[1])), LONG_S)


def take(had: bytearray) -> Answer:
    """The first of the answers in `had`, which has it whole."""
    end = had.find(b"\r\n\r\n")
    assert end >= 0, bytes(had)
    lines = had[:end].decode("latin-1").split("\r\n")
    found = re.fullmatch(r"HTTP/1\.1 (\d{3}) .*", lines[0])
    assert found, lines[0]
    headers = dict(line.split(": ", 1) for line in lines[1:])
    length = end + 4 + int(headers["content-length"])
    body = bytes(had[end + 4 : length])
    del had[:length]
    return int(found[1]), headers, body


def all_answers(server: Server, *pieces: bytes) -> list[Answer]:
    """What comes back until the server ends the connection, which it must."""
    with dial(server) as connection:
        for piece in pieces:
            connection.sendall(piece)
        had = bytearray()
        while got := connection.recv(65536):
            had += got
    answers: list[Answer] = []
    while had:
        answers.append(take(had))
    return answers


def ask(connection: socket.socket, request: bytes, count: int = 1) -> list[Answer]:
    connection.sendall(request)
    had = bytearray()
    answers: list[Answer] = []
    while len(answers) < count:
        end = had.find(b"\r\n\r\n")
        found = re.search(rb"content-length: (\d+)", had[: max(0, end)])
        if found and len(had) >= end + 4 + int(found[1]):
            answers.append(take(had))
            continue
        got = connection.recv(65536)
        assert got, (answers, bytes(had))
        had += got
    assert not had
    return answers


def request(way: str, *lines: str, body: bytes | None = None, host: str = "host: localhost\r\n") -> bytes:
    """A good request, with more header lines."""
    line, headers, own = WAYS[way]
    body = own if body is None else body
    length = f"content-length: {len(body)}\r\n" if body else ""
    more = "".join(f"{each}\r\n" for each in lines)
    return f"{line} HTTP/1.1\r\n{host}{headers}{more}{length}\r\n".encode("latin-1") + body


def told(answer: Answer) -> tuple[int, Any]:
    """What is the same each time that the same is asked."""
    content = json.loads(answer[2])
    for name in ("took_ms", "instance"):
        content.pop(name, None)
    for usage in (content.get("usage"), *(each.get("usage") for each in content.get("results", []))):
        if usage is not None:
            usage.pop("cpu_ms", None)
            usage.pop("cached", None)
    return answer[0], content


LAST = "connection: close\r\n"
CHUNKED = "transfer-encoding: chunked\r\n"
END = "0\r\n\r\n"
# What comes after the request line, Host and content-type. MINE follows where one of two readers would end the body.
REFUSED: dict[str, str] = {
    "length and chunks": f"content-length: 4\r\n{CHUNKED}\r\n{END}{MINE}",
    "chunks and length": f"{CHUNKED}content-length: 5\r\n\r\n{END}{MINE}",
    "two lengths": f"content-length: 2\r\ncontent-length: {2 + len(MINE)}\r\n\r\n{{}}{MINE}",
    "the same length twice": f"content-length: 2\r\ncontent-length: 2\r\n\r\n{{}}{MINE}",
    "a list of lengths": f"content-length: 2, 2\r\n\r\n{{}}{MINE}",
    "a length with a sign": f"content-length: +2\r\n\r\n{{}}{MINE}",
    "a length below nothing": f"content-length: -2\r\n\r\n{MINE}",
    "a length in hex": f"content-length: 0x2\r\n\r\n{{}}{MINE}",
    "a length in two": f"content-length: 2 2\r\n\r\n{{}}{MINE}",
    "no length at all": f"content-length: \r\n\r\n{{}}{MINE}",
    "a length beyond 64 bits": f"content-length: 18446744073709551618\r\n\r\n{{}}{MINE}",
    "a length after a blank": f"content-length : 2\r\n\r\n{{}}{MINE}",
    "chunks after a blank": f"transfer-encoding : chunked\r\n\r\n{END}{MINE}",
    "xchunked": f"transfer-encoding: xchunked\r\n\r\n{END}{MINE}",
    "identity": f"transfer-encoding: identity\r\n\r\n{END}{MINE}",
    "chunked, identity": f"transfer-encoding: chunked, identity\r\n\r\n{END}{MINE}",
    "identity, chunked": f"transfer-encoding: identity, chunked\r\n\r\n{END}{MINE}",
    "gzip, chunked": f"transfer-encoding: gzip, chunked\r\n\r\n{END}{MINE}",
    "chunked twice": f"{CHUNKED}{CHUNKED}\r\n{END}{MINE}",
    "chunked, chunked": f"transfer-encoding: chunked, chunked\r\n\r\n{END}{MINE}",
    "nonsense, then chunked": f"transfer-encoding: x\r\n{CHUNKED}\r\n{END}{MINE}",
    "chunked, then nonsense": f"{CHUNKED}transfer-encoding: x\r\n\r\n{END}{MINE}",
    "quoted": f'transfer-encoding: "chunked"\r\n\r\n{END}{MINE}',
    "with a parameter": f"transfer-encoding: chunked;q=1\r\n\r\n{END}{MINE}",
    "a vertical tab": f"transfer-encoding: \x0bchunked\r\n\r\n{END}{MINE}",
    "a NUL": f"transfer-encoding: chunked\x00\r\n\r\n{END}{MINE}",
    "an empty coding": f"transfer-encoding: \r\n\r\n{END}{MINE}",
    "folded": f"transfer-encoding:\r\n chunked\r\n\r\n{END}{MINE}",
    "an indented line": f" transfer-encoding: chunked\r\n\r\n{END}{MINE}",
    "a line without a name": f": x\r\n\r\n{MINE}",
    "a bare LF between headers": f"x: y\ncontent-length: 0\r\n\r\n{MINE}",
    "a bare CR between headers": f"x: y\rcontent-length: 0\r\n\r\n{MINE}",
    "a bare LF at the end": f"x: y\r\n\n{MINE}",
    "a bare LF after a size": f"{CHUNKED}\r\n2\n{{}}\r\n{END}{MINE}",
    "a bare LF after a chunk": f"{CHUNKED}\r\n2\r\n{{}}\n{END}{MINE}",
    "a bare LF in an extension": f"{CHUNKED}\r\n2;a\nb\r\n{{}}\r\n{END}{MINE}",
    "a bare CR in an extension": f"{CHUNKED}\r\n2;a\rb\r\n{{}}\r\n{END}{MINE}",
    "a line end in a quoted extension": f'{CHUNKED}\r\n2;a="\r\n{{}}\r\n{END}{MINE}',
    "a chunk longer than its size": f"{CHUNKED}\r\n2\r\n{{}}xx\r\n{END}{MINE}",
    "a size with a blank": f"{CHUNKED}\r\n2 \r\n{{}}\r\n{END}{MINE}",
    "a size after a blank": f"{CHUNKED}\r\n 2\r\n{{}}\r\n{END}{MINE}",
    "a size with 0x": f"{CHUNKED}\r\n0x2\r\n{{}}\r\n{END}{MINE}",
    "a size with a sign": f"{CHUNKED}\r\n-2\r\n{{}}\r\n{END}{MINE}",
    "a size beyond 64 bits": f"{CHUNKED}\r\n10000000000000002\r\n{{}}\r\n{END}{MINE}",
    "no size": f"{CHUNKED}\r\n\r\n{{}}\r\n{END}{MINE}",
    "a second length as a trailer": f"{CHUNKED}\r\n0\r\ncontent-length: {len(MINE)}\r\n\r\n{MINE}",
    "two Hosts": f"host: localhost\r\ncontent-length: 0\r\n\r\n{MINE}",
    "a Host of another": f"Host: evil.test\r\ncontent-length: 0\r\n\r\n{MINE}",
}


def smuggled(server: Server) -> float:
    """Requests for the list of indexes, which nobody here makes."""
    with server.client() as client:
        counted = re.findall(r'perwatt_requests_total{operation="indexes",.*} (\S+)', client.get("/metrics").text)
    return sum(map(float, counted))
