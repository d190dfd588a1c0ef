"""Bytes that are meant to be read in two ways, sent to real servers: smuggled requests and their turns.

Whatever is tried, what a proxy in front would take for the body of one request is never answered as a request here, an
answer is never given twice or out of turn, and the fast path, the general way and every other route agree.
"""

from __future__ import annotations

import json
import re
import socket
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from patience import LONG
from serving import Server, serving
from wire_bytes import (
    CHUNKED,
    END,
    JSON,
    LONG_S,
    MINE,
    REFUSED,
    SEARCH,
    WAYS,
    all_answers,
    ask,
    dial,
    request,
    smuggled,
    told,
)

from service.http.protocol import HEAD_BYTES
from service.http.watch import PARK_ABOVE

pytest_plugins = ["serving_fixtures"]


@pytest.mark.parametrize("way", [way for way in WAYS if way != "livez"])
def test_no_request_is_smuggled_in_the_body_of_another(server: Server, way: str) -> None:
    """One answer or, where the body was begun, none for what follows; and the connection is ended."""
    line, headers, _ = WAYS[way]
    before = smuggled(server)
    for name, rest in REFUSED.items():
        sent = f"{line} HTTP/1.1\r\nhost: localhost\r\n{headers}{rest}".encode("latin-1")
        for pieces in ((sent,), (sent[: -len(MINE)], MINE.encode())):
            answers = all_answers(server, *pieces)
            assert len(answers) == 1, (name, answers)
            assert answers[0][0] in (400, 404, 501), (name, answers)  # 404: there is nothing at that path, body or not
    assert smuggled(server) == before


@pytest.mark.parametrize(
    ("first", "status"),
    [
        (f"GET /livez HTTP/1.0\r\n{CHUNKED}\r\n{END}", 400),
        ("GET /livez\r\n\r\n", 505),
        ("GET /livez HTTP/0.9\r\nhost: localhost\r\n\r\n", 505),
        ("GET /livez HTTP/2.0\r\nhost: localhost\r\n\r\n", 505),
        ("GET /livez HTTP/1.2\r\nhost: localhost\r\n\r\n", 400),
        ("GET /livez HTTP/1.1\nhost: localhost\n\n", 400),
        ("CONNECT localhost:80 HTTP/1.1\r\nhost: localhost:80\r\n\r\n", 501),
        ("CONNECT /livez HTTP/1.1\r\nhost: localhost\r\n\r\n", 501),
        ("GET localhost:80 HTTP/1.1\r\nhost: localhost\r\n\r\n", 400),
        ("GET ftp://localhost/livez HTTP/1.1\r\nhost: localhost\r\n\r\n", 400),
        ("GET /livez#x HTTP/1.1\r\nhost: localhost\r\n\r\n", 400),
        ("GET /live\x00z HTTP/1.1\r\nhost: localhost\r\n\r\n", 400),
        ("\x16\x03\x01\x02\x00\x01\x00", 400),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00", 505),
    ],
)
def test_what_is_not_http_1_is_refused_and_nothing_after_it_read(server: Server, first: str, status: int) -> None:
    answers = all_answers(server, (first + MINE).encode("latin-1"))
    assert [answer[0] for answer in answers] == [status]
    assert answers[0][1]["connection"] == "close"
    assert json.loads(answers[0][2])["code"] == "invalid-value"


# What may be odd and is one request all the same, on whichever way; then the next one is where it should be.
TAKEN: dict[str, tuple[str, bytes]] = {
    "chunks": (CHUNKED, b"%x\r\n%b\r\n0\r\n\r\n"),
    "extensions": (CHUNKED, b'%x;a;b=c;d="e"\r\n%b\r\n0;f\r\n\r\n'),
    "zeros before a size": (CHUNKED, b"00000000%x\r\n%b\r\n000\r\n\r\n"),
    "another case": ("Transfer-Encoding: CHUNKED\r\n", b"%x\r\n%b\r\n0\r\n\r\n"),
    "a tab": ("transfer-encoding:\tchunked\r\n", b"%x\r\n%b\r\n0\r\n\r\n"),
    "trailers": (CHUNKED, b"%x\r\n%b\r\n0\r\nhost: evil.test\r\nx-request-id: no\r\n\r\n"),
}


@pytest.mark.parametrize("way", [way for way in WAYS if way != "livez"])
def test_what_is_odd_and_clear_is_one_request(server: Server, way: str) -> None:
    line, headers, body = WAYS[way]
    livez = b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n"
    with dial(server) as connection:
        plain = told(ask(connection, request(way))[0])
        for name, (framing, form) in TAKEN.items():
            head = f"{line} HTTP/1.1\r\nhost: localhost\r\n{headers}{framing}\r\n".encode()
            odd, next_ = ask(connection, b"\r\n" + head + form % (len(body), body) + livez, 2)
            assert told(odd) == plain, name
            assert odd[1]["x-request-id"] != "no"
            assert json.loads(next_[2]) == {"status": "alive"}, name


# --- turns -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["fast path", "general"])
@pytest.mark.parametrize(
    ("bad", "status"),
    [("nonsense\r\n\r\n", 400), ("GET / HTTP/1.1\r\n\r\n", 400), (f"GET / HTTP/1.1\r\nx: {'y' * 2 * HEAD_BYTES}", 431)],
    ids=["no request", "no Host", "too large"],
)
def test_a_refusal_comes_after_what_was_asked_before(server: Server, way: str, bad: str, status: int) -> None:
    """Slow enough to be unfinished when the bad one is read; an answer to that must not be taken for one to this."""
    slow = request(way, body=json.dumps({"text": LONG, "k": 1}).encode())
    for before, statuses in ((slow, [200, status]), (slow + request("livez"), [200, 200, status])):
        answers = all_answers(server, before + bad.encode() + MINE.encode())
        assert [answer[0] for answer in answers] == statuses
        assert [answer[1].get("connection") for answer in answers] == [None] * (len(statuses) - 1) + ["close"]


def test_a_body_that_turns_bad_is_answered_in_its_turn(server: Server) -> None:
    """Of a request that waits for others, and has not begun."""
    slow = request("general", body=json.dumps({"text": LONG, "k": 1}).encode())
    bad = f"POST {SEARCH}/batch HTTP/1.1\r\nhost: localhost\r\n{JSON}{CHUNKED}\r\n-1\r\n".encode()
    assert [answer[0] for answer in all_answers(server, slow + bad + MINE.encode())] == [200, 400]


@pytest.mark.parametrize("way", WAYS)
def test_nothing_is_read_after_the_last_request(server: Server, way: str) -> None:
    before = smuggled(server)
    answers = all_answers(server, request(way, "connection: close") + MINE.encode())
    assert [answer[1]["connection"] for answer in answers] == ["close"]
    assert smuggled(server) == before


def test_what_was_answered_is_not_answered_again(root: Path, tmp_path: Path) -> None:
    """The body of a request that was refused by its head may be slow: it gets no 408 on top, which would be taken for
    the answer to the next."""
    with serving(root, tmp_path, "--client-timeout", "1") as server:
        head = f"POST /nowhere HTTP/1.1\r\nhost: localhost\r\n{JSON}content-length: 100000\r\n\r\n".encode()
        assert [answer[0] for answer in all_answers(server, head, b" ")] == [404]
        slow = f"POST /nowhere HTTP/1.1\r\nhost: localhost\r\n{JSON}content-length: 1000".encode()
        assert [answer[0] for answer in all_answers(server, slow)] == [408]
        both = all_answers(server, request("livez") + slow)
        assert [answer[0] for answer in both] == [200, 408]


# --- many ------------------------------------------------------------------------------------------------------------


def test_idle_ones_beyond_a_few_are_parked_and_asked_all_the_same(server: Server) -> None:
    """So that their ends come a few at a time. Each still answers, and is seen to go, whether it ends or resets."""
    with ExitStack() as stack:
        made = [stack.enter_context(dial(server)) for _ in range(PARK_ABOVE + 100)]
        for turn in range(2):
            for number, each in enumerate(made):
                assert ask(each, request(("fast path", "livez")[(number + turn) % 2]))[0][0] == 200
            time.sleep(2.2)  # they are looked at once a second
        for each in made[::2]:
            each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        for each in made[:-10]:
            each.close()
        limit_s = time.monotonic() + LONG_S
        while open_connections(server) > 10 + 1 + 5:  # what other tests have
            assert time.monotonic() < limit_s
            time.sleep(0.05)
        for each in made[-10:]:
            assert ask(each, request("fast path"))[0][0] == 200


def open_connections(server: Server) -> float:
    with server.client() as client:
        found = re.search(r"^perwatt_connections (\S+)", client.get("/metrics").text, re.MULTILINE)
    assert found
    return float(found[1])
