"""Callers who are slow on purpose, too many, or ask for more than there is: each is shown out, and a good one is
served.

How little the good one notices is measured by `make test-hostile` and `make test-overload`, with times; here is what
must happen at all.
"""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from hostile_callers import HEAD, LONG_S, PATH, dial, good
from patience import patient
from serving import Server, serving

pytest_plugins = ["serving_fixtures"]
PATIENCE_S = 3


@pytest.fixture(scope="module")
def strict(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with little patience, and more than this process is ever held up."""
    with serving(root, tmp_path_factory.mktemp("strict"), "--client-timeout", str(PATIENCE_S)) as server:
        yield server


def dribble(connection: socket.socket, piece: bytes, every_s: float = 0.2) -> bytes:
    """Sends `piece` again and again until the server has had enough; what it answered."""
    connection.settimeout(every_s)
    limit_s = time.monotonic() + LONG_S
    answer = b""
    while time.monotonic() < limit_s:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(piece)
        try:
            got = connection.recv(65536)
        except TimeoutError:
            continue
        except ConnectionResetError:
            return answer
        if not got:
            return answer
        answer += got
    raise AssertionError("the server never lost its patience")


def problem_of(answer: bytes, status: int) -> str:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {status} ".encode()), answer[:100]
    assert b"connection: close" in head
    return str(json.loads(body)["code"])


def test_a_head_that_dribbles_in_is_408(strict: Server) -> None:
    with dial(strict) as connection:
        connection.sendall(HEAD.encode())
        assert problem_of(dribble(connection, b"x: y\r\n"), 408) == "deadline-exceeded"
    good(strict)


@pytest.mark.parametrize("odd", ["", "content-encoding: identity\r\n"], ids=["fast path", "general"])
def test_a_body_that_dribbles_in_is_408(strict: Server, odd: str) -> None:
    with dial(strict) as connection:
        connection.sendall(f"{HEAD}{odd}content-length: 100000\r\n\r\n".encode())
        assert problem_of(dribble(connection, b" "), 408) == "deadline-exceeded"
    good(strict)


def test_chunks_that_dribble_in_are_408(strict: Server) -> None:
    with dial(strict) as connection:
        connection.sendall(f"{HEAD}transfer-encoding: chunked\r\n\r\n".encode())
        assert problem_of(dribble(connection, b"1\r\n \r\n"), 408) == "deadline-exceeded"


def test_a_body_on_a_slow_line_is_read(strict: Server) -> None:
    """Five seconds for a body, more than the patience, but at a rate that a poor line has."""
    body = json.dumps({"id": "a01"}).ljust(200_000).encode()
    with dial(strict) as connection:
        connection.sendall(f"{HEAD}content-length: {len(body)}\r\n\r\n".encode())
        for start in range(0, len(body), 4000):
            connection.sendall(body[start : start + 4000])
            time.sleep(0.1)
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")


def test_who_asks_nothing_is_shown_out(strict: Server) -> None:
    with dial(strict) as connection:
        assert connection.recv(1) == b""
    good(strict)


def test_who_has_asked_may_stay(strict: Server) -> None:
    one = httpx.Limits(max_connections=1, keepalive_expiry=None)
    with httpx.Client(base_url=strict.url, limits=one, timeout=patient(30)) as client:
        assert client.post(PATH, json={"id": "a01"}).status_code == 200
        sockets = client._transport._pool.connections  # type: ignore[attr-defined]
        before = list(sockets)
        time.sleep(PATIENCE_S + 2)
        assert client.post(PATH, json={"id": "a01"}).status_code == 200
        assert list(sockets) == before


def test_who_does_not_take_its_answers_is_dropped_and_fills_no_memory(strict: Server) -> None:
    """Requests without end, of which no answer is read: no more are read from it, and then it is dropped."""
    body = json.dumps({"id": "a01", "k": 20}).encode()
    request = f"{HEAD}content-length: {len(body)}\r\n\r\n".encode() + body
    before = _memory(strict)
    with dial(strict) as connection:
        connection.settimeout(0.2)
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            _send_for_ever(connection, request * 100)
    assert _memory(strict) - before < 64 << 20
    good(strict)


def _send_for_ever(connection: socket.socket, what: bytes) -> None:
    limit_s, at = time.monotonic() + LONG_S, 0
    while time.monotonic() < limit_s:
        with contextlib.suppress(TimeoutError):
            at = (at + connection.send(what[at:])) % len(what)


def _memory(server: Server) -> int:
    for line in Path(f"/proc/{server.process.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmRSS")


@pytest.mark.parametrize(
    "head",
    [
        HEAD + "x: " + "y" * 40_000 + "\r\n\r\n",
        HEAD + "".join(f"x{number}: y\r\n" for number in range(8000)) + "\r\n",
        f"GET /{'a' * 40_000} HTTP/1.1\r\nhost: localhost\r\n\r\n",
        HEAD + "x: " + "y" * 40_000,  # and no end
    ],
    ids=["a long header", "many headers", "a long path", "no end"],
)
def test_a_head_beyond_all_measure_is_431(strict: Server, head: str) -> None:
    with dial(strict) as connection:
        connection.sendall(head.encode())
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            while chunk := connection.recv(65536):
                answer += chunk
        assert problem_of(answer, 431) == "invalid-value"
    good(strict)
