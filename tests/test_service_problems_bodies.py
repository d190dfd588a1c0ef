"""Bodies too large, of another type, or sent by a caller who hangs up: each gives a problem object, none a crash."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator

import httpx
import pytest
from problem_objects import BATCH, JSON, SEARCH, refused
from serving import Server

pytest_plugins = ["serving_fixtures"]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"content-type": "text/plain"},
        {"content-type": "application/x-www-form-urlencoded"},
        {"content-type": "application/json; charset=latin-1"},
        {"content-type": "application/jsonx"},
        {**JSON, "content-encoding": "gzip"},
        {**JSON, "content-encoding": "br"},
    ],
)
@pytest.mark.parametrize("path", [SEARCH, BATCH, "/v1/embeddings"])
def test_only_plain_json_is_read(client: httpx.Client, path: str, headers: dict[str, str]) -> None:
    refused(client.post(path, content=b'{"text": "a"}', headers=headers), 415, "unsupported-encoding")


@pytest.mark.parametrize("kind", ["application/json;charset=UTF-8", 'application/JSON; charset="utf-8"'])
def test_json_by_another_spelling_is_json(client: httpx.Client, kind: str) -> None:
    answer = client.post(
        SEARCH, content=b'{"text": "a"}', headers={"content-type": kind, "content-encoding": "identity"}
    )
    assert answer.status_code == 200


@pytest.mark.parametrize(("path", "limit"), [(SEARCH, 1 << 20), ("/v1/embeddings", 8 << 20), (BATCH, 8 << 20)])
@pytest.mark.parametrize("declared", [True, False], ids=["declared", "chunked"])
@pytest.mark.parametrize("excess", [1, 1_000_000])
def test_a_body_over_the_limit_is_413(server: Server, path: str, limit: int, declared: bool, excess: int) -> None:
    def chunks() -> Iterator[bytes]:
        for start in range(0, len(body), 65536):
            yield body[start : start + 65536]

    body = b" " * (limit + excess)
    with server.client() as client:
        answer = client.post(path, content=body if declared else chunks(), headers=JSON)
    problem = refused(answer, 413, "body-too-large")
    assert problem["limit_bytes"] == limit


@pytest.mark.parametrize("declared", [True, False], ids=["declared", "chunked"])
def test_a_body_at_the_limit_is_read(client: httpx.Client, declared: bool) -> None:
    body = b'{"text": "espresso"}'.ljust(1 << 20)
    answer = client.post(SEARCH, content=body if declared else iter([body[:70_000], body[70_000:]]), headers=JSON)
    assert answer.json()["hits"][0]["id"] == "a14"


def test_a_gigabyte_is_refused_before_it_is_sent(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", int(server.url.rsplit(":", 1)[1])), 10) as connection:
        head = f"POST {SEARCH} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        head += f"content-length: {1 << 30}\r\n\r\n"
        connection.sendall(head.encode())
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
    head_of_answer, _, body = answer.partition(b"\r\n\r\n")
    assert head_of_answer.startswith(b"HTTP/1.1 413 ")
    assert b"connection: close" in head_of_answer
    assert json.loads(body)["code"] == "body-too-large"


def test_bytes_that_are_not_http_are_answered_as_a_problem(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", int(server.url.rsplit(":", 1)[1])), 10) as connection:
        connection.sendall(b"nonsense\r\n\r\n")
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"content-type: application/problem+json" in head
    assert json.loads(body)["status"] == 400


def test_a_caller_who_hangs_up_in_the_middle_harms_nobody(server: Server) -> None:
    port = int(server.url.rsplit(":", 1)[1])
    for head in (
        f"POST {SEARCH} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n"
        + "{",
        f"POST {SEARCH} HTTP/1.1\r\nhost: localhost\r\n",
        "nonsense\r\n\r\n",
    ):
        with socket.create_connection(("127.0.0.1", port), 10) as connection:
            connection.sendall(head.encode())
    with server.client() as client:
        assert client.post(SEARCH, json={"text": "a"}).status_code == 200
    assert "Traceback" not in server.log()
