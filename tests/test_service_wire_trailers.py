"""Trailers and bodies without end: no memory fills, no trailer becomes a header, and limits hold for both."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from serving import Server, serving
from wire_bytes import (
    CHUNKED,
    JSON,
    LAST,
    LONG_S,
    ODD,
    QUERY,
    SEARCH,
    WAYS,
    Answer,
    all_answers,
    ask,
    dial,
    take,
)

from service.access import keys
from service.http.protocol import HEAD_BYTES
from service.wire.limits import DRAIN_BYTES

pytest_plugins = ["serving_fixtures"]


@pytest.fixture(scope="module")
def fenced(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, str]]:
    """A server that asks for a key, and one that may do everything."""
    folder = tmp_path_factory.mktemp("fenced")
    with keys.changing(folder / "keys.json") as held:
        token = keys.add(held, keys.Key("all", 0, "admin", []), None)
    with serving(root, folder, "--keys", str(folder / "keys.json")) as made:
        yield made, token


ENDLESS: dict[str, tuple[bytes, bytes]] = {
    "trailers": (b"0\r\n", b"a: b\r\n" * 10_000),
    "trailers after a body": (b"%x\r\n%b\r\n0\r\n" % (len(QUERY), QUERY), b"a: b\r\n" * 10_000),
    "one name": (b"0\r\n", b"a" * 60_000),
    "one value": (b"0\r\na: ", b"a" * 60_000),
    "extensions": (b"", b"1;" + b"x" * 1000 + b"\r\n \r\n"),
    "one extension": (b"1;a=", b"x" * 60_000),
}
MOST = 32 << 20  # that a server may take before it ends the connection, buffers of the kernels included


def pour(server: Server, head: bytes, what: bytes) -> tuple[int, list[Answer]]:
    """Sends `what` until the connection is ended; how many bytes were taken, and what was answered before."""
    with dial(server) as connection:
        connection.sendall(head)
        connection.settimeout(0.1)
        had, sent, limit_s = bytearray(), 0, time.monotonic() + LONG_S
        with suppress(ConnectionError):
            while sent < 2 * MOST:
                assert time.monotonic() < limit_s
                with suppress(TimeoutError):
                    sent += connection.send(what)
                connection.setblocking(False)
                with suppress(BlockingIOError):
                    while got := connection.recv(65536):
                        had += got
                connection.settimeout(0.1)
        with suppress(OSError):
            while got := connection.recv(65536):
                had += got
    answers = []
    while had:
        answers.append(take(had))
    return sent, answers


def memory(server: Server) -> int:
    for line in Path(f"/proc/{server.process.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmRSS")


@pytest.mark.parametrize("way", ["general", "batch", "nowhere"])
def test_trailers_without_end_fill_no_memory_and_end_the_connection(server: Server, way: str) -> None:
    line, headers, _ = WAYS[way]
    head = f"{line} HTTP/1.1\r\nhost: localhost\r\n{headers}{CHUNKED}\r\n".encode()
    before = memory(server)
    for name, (begin, what) in ENDLESS.items():
        sent, answers = pour(server, head + begin, what)
        assert sent < MOST, name
        # The general way may have answered before, which is then all there is: a 404, or a search that had its body.
        assert [answer[0] for answer in answers] in ([431], [404], [200]), (name, answers)
        if way == "general" and name in ("trailers", "one name", "one value", "one extension"):
            assert answers[0][0] == 431, name
    assert memory(server) - before < 32 << 20
    with server.client() as client:
        assert client.get("/livez").status_code == 200


@pytest.mark.parametrize("name", ENDLESS)
def test_nor_do_they_behind_a_key(fenced: tuple[Server, str], name: str) -> None:
    """Who is refused for want of a key is not listened to without end either."""
    begin, what = ENDLESS[name]
    head = f"POST {SEARCH} HTTP/1.1\r\nhost: localhost\r\n{JSON}{CHUNKED}\r\n".encode()
    sent, answers = pour(fenced[0], head + begin, what)
    assert sent < MOST
    assert [answer[0] for answer in answers] in ([401], [431])


@pytest.mark.parametrize("head", [f"content-length: {1 << 30}\r\n", CHUNKED], ids=["declared", "chunks"])
def test_a_body_that_nobody_wants_is_not_read_to_its_end(server: Server, head: str) -> None:
    what = b"4000\r\n" + b" " * 0x4000 + b"\r\n"
    sent, answers = pour(server, f"POST /nowhere HTTP/1.1\r\nhost: localhost\r\n{JSON}{head}\r\n".encode(), what)
    assert DRAIN_BYTES <= sent < MOST
    assert [answer[0] for answer in answers] == [404]


def test_a_trailer_is_no_header(fenced: tuple[Server, str], server: Server) -> None:
    """Sent along with its head, in one piece, it used to become one."""
    guarded, token = fenced
    body = b"%x\r\n%b\r\n0\r\n" % (len(QUERY), QUERY)

    def status(of: Server, host: str, headers: str, trailer: str) -> int:
        sent = f"POST {SEARCH} HTTP/1.1\r\nhost: {host}\r\n{headers}{CHUNKED}\r\n".encode() + body
        with dial(of) as connection:
            return ask(connection, sent + f"{trailer}\r\n\r\n".encode())[0][0]

    key = f"authorization: Bearer {token}"
    assert status(guarded, "localhost", f"{JSON}{key}\r\n", "x: y") == 200
    assert status(guarded, "localhost", JSON, key) == 401
    assert status(server, "evil.test", JSON, "host: localhost") == 403
    assert status(server, "localhost", JSON, "host: evil.test") == 200
    assert status(server, "localhost", "", "content-type: application/json") == 415
    assert status(server, "localhost", JSON, "content-encoding: gzip") == 200


def test_trailers_count_with_the_head(server: Server) -> None:
    """Each is within the limit, and both are not."""
    half = "x" * (HEAD_BYTES // 2)
    end = b"%x\r\n%b\r\n0\r\n" % (len(QUERY), QUERY)
    for header, trailer, expected in ((half, "y", 200), ("x", half, 200), (half, half, 431)):
        head = f"POST {SEARCH} HTTP/1.1\r\nhost: localhost\r\n{ODD}a: {header}\r\n{LAST}{CHUNKED}\r\n".encode()
        answers = all_answers(server, head + end + f"b: {trailer}\r\n\r\n".encode())
        assert [answer[0] for answer in answers] == [expected]
