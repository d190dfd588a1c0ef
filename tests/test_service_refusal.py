"""At a full line every way of refusing says the same, and nothing but the price differs.

`full` is a server with one place and a line of one, both taken for as long as its tests run.
"""

from __future__ import annotations

import json
import re
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from full_line import LIMIT_S, Filled, filled, refused, request
from raw_http import PATH, ask, receive
from server_keys import bearer, make_key

from service.access import keys
from service.http.refusal import HEADS

pytest_plugins = ["serving_fixtures", "full_line_fixtures"]


BODY = b'{"id": "a01"}'
GENERAL = "content-encoding: identity"  # odd enough for the general way
TRACE = "traceparent: 00-" + "a" * 32 + "-" + "b" * 16 + "-01"


@pytest.mark.parametrize(
    "headers",
    [
        (),
        ("x-request-id: mine", TRACE),
        ("x-request-id: " + "i" * 64,),
        ("x-request-id: has blanks",),
        ("x-request-id: has%percent",),
        ("traceparent: 00-none",),
        ("accept: */*", "user-agent: 100%b%d"),
    ],
)
def test_all_ways_refuse_alike(connection: socket.socket, headers: tuple[str, ...]) -> None:
    """By the head, by the bytes of a head that was refused before, and the general way."""
    general = ask(connection, BODY, GENERAL, *headers)
    expected = refused(general)
    own = "x-request-id: mine" not in headers and headers[:1] != ("x-request-id: " + "i" * 64,)
    ids = {general[1]["x-request-id"]}
    for _ in range(3):
        given = ask(connection, BODY, *headers)
        assert refused(given) == expected
        varying = {"date", "retry-after"} | ({"x-request-id"} if own else set())
        assert set(given[1]) == set(general[1])
        assert {name: given[1][name] for name in given[1] if name not in varying} == {
            name: general[1][name] for name in general[1] if name not in varying
        }
        ids.add(given[1]["x-request-id"])
    assert len(ids) == (4 if own else 1)
    assert all(re.fullmatch(r"[A-Za-z0-9._-]{1,64}", each) for each in ids)


def test_what_is_refused_in_one_piece_is_answered_in_order(connection: socket.socket) -> None:
    """Heads that are known and heads that are not, and between them what is not refused."""
    for _ in range(2):  # the second time, the heads are known
        connection.sendall(request(BODY))
        refused(receive(connection, bytearray()))
        pieces = [
            request(BODY),
            request(BODY, "x-request-id: second"),
            b"GET /livez HTTP/1.1\r\nhost: localhost\r\nx-request-id: third\r\n\r\n",
            request(BODY, GENERAL, "x-request-id: fourth"),
            request(BODY),
            request(BODY, "x-request-id: sixth"),
        ]
        connection.sendall(b"".join(pieces))
        had = bytearray()
        answers = [receive(connection, had) for _ in pieces]
        assert [status for status, _, _ in answers] == [503, 503, 200, 503, 503, 503]
        ids = [headers["x-request-id"] for _, headers, _ in answers]
        assert [ids[at] for at in (1, 2, 3, 5)] == ["second", "third", "fourth", "sixth"]


def test_a_known_head_may_come_in_any_pieces(connection: socket.socket) -> None:
    """With a body that holds what ends a head, and one that looks like the next request."""
    connection.settimeout(LIMIT_S)
    for body in (BODY, b"\r\n\r\n" * 3, request(BODY)):
        whole = request(body)
        for _ in range(2):
            connection.sendall(whole)
            refused(receive(connection, bytearray()))
        for cut in (1, whole.find(b"\r\n\r\n") + 2, whole.find(b"\r\n\r\n") + 4, len(whole) - 1):
            connection.sendall(whole[:cut])
            with full_turn(connection):
                connection.sendall(whole[cut:])
            refused(receive(connection, bytearray()))
        connection.sendall(whole + whole[:20])  # more than one, and the rest later
        had = bytearray()
        refused(receive(connection, had))
        connection.sendall(whole[20:])
        refused(receive(connection, had))
        assert not had


@contextmanager
def full_turn(connection: socket.socket) -> Iterator[None]:
    """The server has read what was sent before: it has answered somebody else who asked later."""
    with socket.create_connection(connection.getpeername(), LIMIT_S) as other:
        other.sendall(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n")
        assert receive(other, bytearray())[0] == 200
    yield


def test_one_body_of_another_length_is_not_taken_for_the_known_one(connection: socket.socket) -> None:
    """A known head with a byte too many: that byte begins another request, and it is none."""
    for _ in range(2):
        connection.sendall(request(BODY))
        refused(receive(connection, bytearray()))
    connection.sendall(request(BODY) + b"\x00")
    had = bytearray()
    refused(receive(connection, had))
    assert receive(connection, had)[0] == 400


def test_odd_heads_are_read_to_their_end(connection: socket.socket) -> None:
    head = f"POST {PATH} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    for _ in range(2):
        had = bytearray()
        connection.sendall(f"{head}transfer-encoding: chunked\r\n\r\n".encode() + b"d\r\n" + BODY + b"\r\n0\r\n\r\n")
        refused(receive(connection, had))
        connection.sendall(f"{head}expect: 100-continue\r\ncontent-length: {len(BODY)}\r\n\r\n".encode())
        while b"\r\n\r\n" not in had:
            had += connection.recv(65536)
        assert had == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(BODY)
        had.clear()
        refused(receive(connection, had))
        refused(ask(connection, BODY))
    connection.sendall(f"{head}content-length: 2000000\r\n\r\n".encode() + b" " * 2_000_000)
    assert receive(connection, bytearray())[0] == 413


def test_a_caller_who_wants_to_close_is_refused_and_let_go(full: Filled) -> None:
    for _ in range(2):
        with full.dial() as connection:
            answer = ask(connection, BODY, "connection: close")
            refused(answer)
            assert answer[1]["connection"] == "close"
            assert connection.recv(1) == b""


def test_every_refusal_is_counted(full: Filled, connection: socket.socket) -> None:
    names = (
        "perwatt_shed_total",
        'perwatt_requests_total{operation="search",status="503"}',
        'perwatt_request_seconds_count{operation="search"}',
    )
    before = full.metrics(*names)
    for headers in ((), (), (), ("x-request-id: mine",), (GENERAL,)):
        refused(ask(connection, BODY, *headers))
    assert full.metrics(*names) == [number + 5 for number in before]


def test_a_name_that_could_be_rebound_is_not_let_in_by_a_known_head(connection: socket.socket) -> None:
    for _ in range(3):
        refused(ask(connection, BODY))
        connection.sendall(request(BODY).replace(b"localhost", b"evil.test"))
        assert receive(connection, bytearray())[0] == 403


def test_more_heads_than_are_remembered(connection: socket.socket) -> None:
    for number in range(HEADS + 2):
        connection.sendall(request(BODY, f"x-number: {number}"))
        status, _, _ = receive(connection, bytearray())
        assert status == 503
    refused(ask(connection, BODY))


def test_who_was_refused_is_answered_when_there_is_a_place(root: Path, tmp_path: Path) -> None:
    """The same bytes, on the same connection; and a refusal whose body never ends harms nobody."""
    with filled(root, tmp_path) as full, full.dial() as connection, full.dial() as unfinished:
        for _ in range(2):
            refused(ask(connection, BODY))
        unfinished.sendall(request(BODY)[:-1])
        with full_turn(unfinished):
            full.empty()
        limit_s = time.monotonic() + LIMIT_S
        while (answer := ask(connection, BODY))[0] == 503:
            assert time.monotonic() < limit_s
        assert answer[0] == 200
        gone = 'perwatt_requests_total{operation="search_batch",status="499"}'
        while full.metrics(gone) != [2.0]:  # of large bodies, and yet seen to have hung up
            assert time.monotonic() < limit_s
        unfinished.sendall(BODY[-1:])
        refused(receive(unfinished, bytearray()))  # it was decided from its head
        assert ask(unfinished, BODY)[0] == 200
        assert full.server.end() == 0
        assert connection.recv(1) == unfinished.recv(1) == b""
        assert "Traceback" not in full.server.log()


def test_keys_come_before_a_refusal(root: Path, tmp_path: Path) -> None:
    """A known head is no key: what was refused with a key that is revoked since is unauthenticated."""
    path = tmp_path / "keys.json"
    admin = make_key(path, "admin", "admin")
    token = make_key(path, "reader", "search", indexes=["docs"])
    with filled(root, tmp_path, "--keys", str(path), **bearer(admin)) as full, full.dial() as connection:

        def status(*headers: str, index: str = "docs") -> int:
            return ask(connection, BODY, *headers, path=f"/v1/indexes/{index}/search")[0]

        own = f"authorization: Bearer {token}"
        for _ in range(3):
            assert status(own) == 503
            assert status() == status("authorization: Bearer pw_nobody_x") == 401
            assert status(own, index="bare") == status(own, index="nowhere") == 403
        with keys.changing(path) as held:
            held.remove(keys.find(held, "reader"))
        full.server.process.send_signal(signal.SIGHUP)
        limit_s = time.monotonic() + LIMIT_S
        while status(own) == 503:
            assert time.monotonic() < limit_s
        assert status(own) == 401
        assert full.metrics("perwatt_requests_waiting") == [1.0]  # and the line is as full as it was


def test_a_refusal_is_logged_where_requests_are(root: Path, tmp_path: Path) -> None:
    with filled(root, tmp_path, "--access-log", "--log-format", "json") as full, full.dial() as connection:
        for number in range(3):
            refused(ask(connection, BODY, f"x-request-id: n{number}"))
            refused(ask(connection, BODY))
        lines = [json.loads(line) for line in full.server.log().splitlines()]
        refusals = [line for line in lines if line.get("operation") == "search" and line.get("status") == 503]
        assert len(refusals) == 6
        assert [line["request_id"] for line in refusals[::2]] == ["n0", "n1", "n2"]
        assert {line["body_bytes"] for line in refusals} == {len(BODY)}
        assert "a01" not in full.server.log()
