"""The fast path and the general way give the same answer; what the fast path does not take, the other does."""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest
from patience import patient
from raw_http import PATH, ask, receive, send
from serving import Server

pytest_plugins = ["serving_fixtures"]

VECTOR = [0.05] * 384
QUERIES: list[Any] = [
    {"vector": VECTOR},
    {"vector": VECTOR, "k": 3, "fields": ["title"]},
    {"id": "a01", "k": 100},
    {"text": "volcano"},
    {"text": "volcano", "params": {"exact": True}},
    {"id": "nobody"},
    {"vector": [1.0]},
    {"text": "a", "foo": 1},
    {"text": "a", "expect": {"generation": "other"}},
    {"text": "word " * 1600, "timeout_ms": 1},
    {},
    [],
]


@pytest.fixture
def connection(server: Server) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", int(server.url.rsplit(":", 1)[1])), 30) as made:
        yield made


def without_times(body: bytes) -> Any:
    content = json.loads(body)
    content.pop("took_ms", None)
    content.pop("instance", None)
    if "usage" in content:
        content["usage"].pop("cpu_ms")
        content["usage"].pop("cached")
    return content


@pytest.mark.parametrize("query", QUERIES, ids=[str(number) for number in range(len(QUERIES))])
def test_both_ways_answer_alike(connection: socket.socket, query: Any) -> None:
    body = json.dumps(query).encode()
    for headers in ((), ("x-request-id: mine", "traceparent: 00-" + "a" * 32 + "-" + "b" * 16 + "-01")):
        fast = ask(connection, body, *headers)
        general = ask(connection, body, "content-encoding: identity", *headers)  # odd enough for the general way
        assert fast[0] == general[0]
        assert without_times(fast[2]) == without_times(general[2])
        given, other = fast[1], general[1]
        assert set(given) == set(other)
        varying = {"server-timing", "x-request-id", "date", "content-length"} - ({"x-request-id"} if headers else set())
        assert {name: given[name] for name in given if name not in varying} == {
            name: other[name] for name in other if name not in varying
        }
        assert re.fullmatch(r"[A-Za-z0-9._-]{1,64}", given["x-request-id"])


def test_many_on_one_connection_are_answered_in_order(connection: socket.socket) -> None:
    """Sent in one piece: by vector and by text, in the fast path and beside it, so that some would be ready out of
    turn."""
    bodies = [json.dumps(query).encode() for query in QUERIES[:5]] * 3
    piece = b""
    for number, body in enumerate(bodies):
        odd = "content-encoding: identity\r\n" if number % 4 == 1 else ""
        piece += (
            f"POST {PATH} HTTP/1.1\r\nhost: localhost\r\nx-request-id: n{number}\r\n{odd}"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        ).encode() + body
    connection.sendall(piece)
    had = bytearray()
    answers = [receive(connection, had) for _ in bodies]
    assert [headers["x-request-id"] for _, headers, _ in answers] == [f"n{number}" for number in range(len(bodies))]
    assert {status for status, _, _ in answers} == {200}


def test_a_body_in_pieces_is_one_body(connection: socket.socket) -> None:
    body = json.dumps({"vector": VECTOR}).encode()
    head = f"POST {PATH} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    for piece in (head.encode()[:20], head.encode()[20:], f"content-length: {len(body)}\r\n\r\n".encode(), body[:100]):
        connection.sendall(piece)
    connection.sendall(body[100:])
    assert receive(connection, bytearray())[0] == 200


def test_a_caller_who_wants_to_close_is_let_go(connection: socket.socket) -> None:
    status, headers, _ = ask(connection, b'{"id": "a01"}', "connection: close")
    assert (status, headers["connection"]) == (200, "close")
    assert connection.recv(1) == b""


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (PATH + "?x=1", 200),
        ("/v1/indexes/%64ocs/search", 200),
        (PATH + "/", 404),
        ("/v1/indexes/nowhere/search", 404),
        ("/v1/indexes/docs-20200101T000000Z-abcd/search", 410),
    ],
)
def test_a_path_that_is_spelt_otherwise(connection: socket.socket, path: str, status: int) -> None:
    assert ask(connection, b'{"id": "a01"}', path=path)[0] == status


def test_a_caller_who_hangs_up_cancels_the_work(server: Server) -> None:
    """A text that waits for the encoder is withdrawn; the request is counted as one that nobody waited for."""
    port = int(server.url.rsplit(":", 1)[1])
    with server.client() as client:

        def counted() -> tuple[float, float]:
            """Searches that nobody waited for, and those that were answered."""
            text = client.get("/metrics").text
            found = (re.search(rf'operation="search",status="{status}"}} (\S+)', text) for status in (499, 200))
            gone, answered = (float(each[1]) if each else 0.0 for each in found)
            return gone, answered

        def hung_up(headers: tuple[str, ...]) -> bool:
            before = counted()
            made = [socket.create_connection(("127.0.0.1", port), 10) for _ in range(4)]
            for each in made:
                send(each, json.dumps({"text": "word " * 1600}).encode(), *headers)
            client.get("/livez")
            for each in made:
                each.close()
            limit_s = time.monotonic() + patient(30)
            while sum(now := counted()) < sum(before) + 4:
                assert time.monotonic() < limit_s
            return now[0] >= before[0] + 3  # the first may have been under way in the encoder, and answered

        for headers in ((), ("content-encoding: identity",)):
            assert any(hung_up(headers) for _ in range(5)), "each time it may have been answered before it hung up"
        assert client.post(PATH, json={"text": "a"}).status_code == 200
    assert "Traceback" not in server.log()
