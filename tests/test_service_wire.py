"""Bytes that are meant to be read in two ways, sent to real servers: smuggled requests, trailers, upgrades, Hosts.

Whatever is tried, what a proxy in front would take for the body of one request is never answered as a request here, an
answer is never given twice or out of turn, and the fast path, the general way and every other route agree.
"""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
from patience import LONG, patient
from serving import Server, serving

from service.access import keys
from service.http.protocol import HEAD_BYTES
from service.http.watch import PARK_ABOVE
from service.wire.limits import DRAIN_BYTES

pytest_plugins = ["serving_fixtures"]

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


@pytest.fixture(scope="module")
def fenced(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, str]]:
    """A server that asks for a key, and one that may do everything."""
    folder = tmp_path_factory.mktemp("fenced")
    with keys.changing(folder / "keys.json") as held:
        token = keys.add(held, keys.Key("all", 0, "admin", []), None)
    with serving(root, folder, "--keys", str(folder / "keys.json")) as made:
        yield made, token


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


def smuggled(server: Server) -> float:
    """Requests for the list of indexes, which nobody here makes."""
    with server.client() as client:
        counted = re.findall(r'perwatt_requests_total{operation="indexes",.*} (\S+)', client.get("/metrics").text)
    return sum(map(float, counted))


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


# --- trailers -------------------------------------------------------------------------------------------------------

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


# --- upgrades -------------------------------------------------------------------------------------------------------

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


# --- Host -----------------------------------------------------------------------------------------------------------

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


# --- turns ----------------------------------------------------------------------------------------------------------


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


# --- many -----------------------------------------------------------------------------------------------------------


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
