"""Offers to upgrade are ignored, and a request names one Host that is one, on every way through the server."""

from __future__ import annotations

import json
import socket

import pytest
from serving import Server
from wire_bytes import (
    CHUNKED,
    JSON,
    MINE,
    QUERY,
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

pytest_plugins = ["serving_fixtures"]

OFFERS = {
    "Java and curl": ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAEAAEAAAAIAAAAB"),
    "a websocket": ("connection: upgrade", "upgrade: websocket", "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ=="),
    "anything": ("connection: keep-alive, UPGRADE", "upgrade: TLS/1.0, x/2"),
    "not in Connection": ("upgrade: h2c",),
}


@pytest.mark.parametrize("way", WAYS)
def test_an_offer_to_upgrade_is_ignored_and_the_request_answered(server: Server, way: str) -> None:
    with dial(server) as connection:
        plain = ask(connection, request(way))[0]
        for offer in OFFERS.values():
            (offered,) = ask(connection, request(way, *offer))
            assert told(offered) == told(plain)
            assert set(offered[1]) == set(plain[1])
            first, second, third = ask(connection, request(way, *offer) + request("livez", *offer) + request(way), 3)
            assert told(first) == told(third) == told(plain)
            assert json.loads(second[2]) == {"status": "alive"}


@pytest.mark.parametrize("way", ["fast path", "general", "batch"])
def test_a_request_with_an_offer_comes_in_any_pieces(server: Server, way: str) -> None:
    offer = OFFERS["Java and curl"]
    whole = request(way, *offer)
    chunks = request(way, *offer, body=b"").replace(b"\r\n\r\n", f"\r\n{CHUNKED}\r\n".encode())
    body = WAYS[way][2]
    with dial(server) as connection:
        plain = told(ask(connection, request(way))[0])
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for sent in (whole, chunks + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)):
            for cut in (1, sent.find(b"pgrade"), sent.find(b"\r\n\r\n") + 2, sent.find(b"\r\n\r\n") + 4, len(sent) - 1):
                connection.sendall(sent[:cut])
                with dial(server) as other:  # whose answer says that the server has read what came before
                    ask(other, request("livez"))
                assert told(ask(connection, sent[cut:])[0]) == plain


@pytest.mark.parametrize("way", WAYS)
def test_no_body_behind_an_offer_is_read_as_a_request(server: Server, way: str) -> None:
    before = smuggled(server)
    offer = (*OFFERS["Java and curl"][1:], "connection: close, Upgrade, HTTP2-Settings")
    answers = all_answers(server, request(way, *offer, body=MINE.encode()))
    assert len(answers) == 1
    assert answers[0][0] in (200, 400, 404)
    assert answers[0][1]["connection"] == "close"
    for rest in (REFUSED["length and chunks"], REFUSED["two lengths"], REFUSED["xchunked"], REFUSED["two Hosts"]):
        line, headers, _ = WAYS[way]
        sent = f"{line} HTTP/1.1\r\nhost: localhost\r\n{headers}connection: upgrade\r\nupgrade: h2c\r\n{rest}"
        assert [answer[0] // 100 for answer in all_answers(server, sent.encode())] in ([4], [5])
    assert smuggled(server) == before


# --- Host ------------------------------------------------------------------------------------------------------------

BAD_HOSTS = [
    "",
    "host: \r\n",
    "host: localhost\r\nhost: localhost\r\n",
    "host: localhost\r\nHost: evil.test\r\n",
    "host: [127.0.0.1]evil.com\r\n",
    "host: [::1]evil.com\r\n",
    "host: [127.0.0.1]\r\n",
    "host: [::1\r\n",
    "host: ::1\r\n",
    "host: [fe80::1%25lo]\r\n",
    "host: localhost:80:80\r\n",
    "host: localhost:8x\r\n",
    "host: localhost:99999\r\n",
    "host: localhost:-1\r\n",
    "host: user@localhost\r\n",
    "host: localhost/evil\r\n",
    "host: localhost, evil.test\r\n",
    "host: local host\r\n",
    "host: http://localhost\r\n",
    "host: l\xf6calhost\r\n",
    "host: localhost%00\r\n",
]
GOOD_HOSTS = ["localhost", "LOCALHOST:80", "localhost:", "127.0.0.1", "127.0.0.1:8000", "[::1]", "[::1]:8000"]


@pytest.mark.parametrize("way", WAYS)
def test_a_request_has_one_host_and_it_is_one(server: Server, way: str) -> None:
    with dial(server) as connection:
        plain = told(ask(connection, request(way))[0])
        for host in GOOD_HOSTS * 2:  # the second time they are known
            assert told(ask(connection, request(way, host=f"host: {host}\r\n"))[0]) == plain, host
    for host in BAD_HOSTS:
        answers = all_answers(server, request(way, host=host) + MINE.encode())
        assert [answer[0] for answer in answers] == [400], (host, answers)
        assert "Host" in json.loads(answers[0][2])["title"]


@pytest.mark.parametrize("way", WAYS)
def test_an_absolute_target_names_the_host_of_the_request(server: Server, way: str) -> None:
    line, _, _ = WAYS[way]
    method, path = line.split()
    good = request(way).decode()
    with dial(server) as connection:
        plain = told(ask(connection, good.encode())[0])
        for origin in ("http://localhost", "HTTP://LOCALHOST", "https://localhost"):
            assert told(ask(connection, good.replace(line, f"{method} {origin}{path}").encode())[0]) == plain
    for origin in (
        "http://evil.test",
        "http://localhost:81",
        "http://localhost@evil.test",
        "http://evil.test@localhost",
        "http://localhost.evil.test",
        "http://",
    ):
        answers = all_answers(server, good.replace(line, f"{method} {origin}{path}").encode())
        assert [answer[0] for answer in answers] == [400], (origin, answers)


def test_http_1_0_needs_no_host(server: Server) -> None:
    assert [answer[0] for answer in all_answers(server, b"GET /livez HTTP/1.0\r\n\r\n")] == [200]
    head = f"POST {SEARCH} HTTP/1.0\r\n{JSON}content-length: {len(QUERY)}\r\n\r\n".encode()
    assert [answer[0] for answer in all_answers(server, head + QUERY)] == [200]
    assert [answer[0] for answer in all_answers(server, b"GET /livez HTTP/1.0\r\nhost: a b\r\n\r\n")] == [400]
