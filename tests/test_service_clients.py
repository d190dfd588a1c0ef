"""Clients that others wrote, against a real server: httpie, curl and the JDK's, which both ask for HTTP/2 by Upgrade.

What curl and the JDK send is kept as bytes and always replayed; the programs themselves run where they are installed,
and are then held to send what is kept.
"""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from patience import patient
from serving import Server

pytest_plugins = ["serving_fixtures"]

SEARCH = "/v1/indexes/docs/search"
BODY = json.dumps({"text": "espresso", "k": 1})
# The heads as curl 7.88 and OpenJDK 17 send them; the JDK sends the body of the first request in a packet of its own.
HEADS = {
    "curl": "POST {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: curl/7.88.1\r\nAccept: */*\r\n"
    "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n"
    "content-type: application/json\r\nContent-Length: {length}\r\n\r\n",
    "java": "POST {path} HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings\r\nContent-Length: {length}\r\n"
    "Host: {host}\r\nHTTP2-Settings: AAEAAEAAAAIAAAAAAAMAAAAAAAQBAAAAAAUAAEAAAAYABgAA\r\nUpgrade: h2c\r\n"
    "User-Agent: Java-http-client/17.0.15\r\ncontent-type: application/json\r\n\r\n",
}
JAVA = Path(__file__).with_name("JdkClient.java")


def command(name: str, url: str) -> list[str | Path]:
    """One that posts BODY to `url`: curl once, Java twice over one connection."""
    program = shutil.which(name)
    if program is None:
        pytest.skip(f"{name} is not installed; what it sends is replayed all the same")
    if name == "curl":
        return [
            *(program, "--http2", "--silent", "--show-error", "--noproxy", "*", "--write-out", "\n%{http_code}"),
            *("--header", "content-type: application/json", "--data", BODY, url),
        ]
    return [program, JAVA, url, BODY]


def run(asked: list[str | Path], **options: Any) -> str:
    done = subprocess.run(asked, capture_output=True, text=True, timeout=patient(60), check=False, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("packets", [1, 2], ids=["one-packet", "body-apart"])
@pytest.mark.parametrize("name", HEADS)
def test_a_request_that_would_rather_have_http2_is_answered_with_its_body(
    server: Server, name: str, packets: int
) -> None:
    """Twice over one connection: nothing of the first body is left for the second request."""
    host = server.url.removeprefix("http://")
    head = HEADS[name].format(path=SEARCH, host=host, length=len(BODY)).encode()
    address, _, port = host.partition(":")
    with (
        socket.create_connection((address, int(port)), patient(10)) as connection,
        connection.makefile("rb") as stream,
    ):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(2):
            for piece in [head + BODY.encode()] if packets == 1 else [head, BODY.encode()]:
                connection.sendall(piece)
                time_for_a_packet()
            assert stream.readline() == b"HTTP/1.1 200 OK\r\n"
            length = 0
            while (line := stream.readline().lower()) != b"\r\n":
                assert not line.startswith(b"upgrade:")
                if line.startswith(b"content-length:"):
                    length = int(line.partition(b":")[2])
            assert json.loads(stream.read(length))["hits"][0]["payload"]["title"] == "Espresso"


def time_for_a_packet() -> None:
    """So that the server reads what was sent before more comes."""
    threading.Event().wait(0.05)


@pytest.mark.parametrize("name", HEADS)
def test_the_programs_themselves_are_answered(server: Server, name: str) -> None:
    said = run(command(name, server.url + SEARCH))
    assert said.count('"title":"Espresso"') == (1 if name == "curl" else 2)
    assert len(re.findall("^200", said, re.MULTILINE)) == (1 if name == "curl" else 2), said
    assert "HTTP_2" not in said


@pytest.mark.parametrize("name", HEADS)
def test_the_programs_send_what_is_replayed(name: str, listener: tuple[str, Callable[[], bytes]]) -> None:
    """But for their version, and for what they offer for HTTP/2."""
    host, heard = listener
    run(command(name, f"http://{host}{SEARCH}"))
    kept = HEADS[name].format(path=SEARCH, host=host, length=len(BODY)).encode()
    assert comparable(heard()) == comparable(kept)


def comparable(head: bytes) -> list[bytes]:
    return re.sub(rb"(?im)^(user-agent: \D+|http2-settings: ).*$", rb"\1", head).split(b"\r\n")


@pytest.fixture
def listener() -> Iterator[tuple[str, Callable[[], bytes]]]:
    """Host and port of a server that answers every request with {}, and what gives the head of the first."""
    heads: list[bytes] = []

    def answer() -> None:
        try:
            connection, _ = listening.accept()
        except OSError:  # nobody came
            return
        with connection:
            received = b""
            while len(heads) < 2:
                piece = connection.recv(65536)
                if not piece:
                    return
                received += piece
                head, end, body = received.partition(b"\r\n\r\n")
                if end and len(body) == len(BODY):
                    heads.append(head + end)
                    received = b""
                    connection.sendall(
                        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"
                    )

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        yield f"127.0.0.1:{listening.getsockname()[1]}", lambda: heads[0]
        thread.join(patient(10))


@pytest.fixture
def httpie(tmp_path: Path) -> Callable[..., str]:
    """Runs it in a terminal's absence, without its look for newer versions."""
    (tmp_path / "config.json").write_text('{"disable_update_warnings": true}')

    def run_it(*arguments: str) -> str:
        return run(
            [sys.executable, "-m", "httpie", "--ignore-stdin", "--print=hb", *arguments],
            env={"HTTPIE_CONFIG_DIR": str(tmp_path), "NO_PROXY": "*", "PYTHONPATH": ":".join(sys.path)},
        )

    return run_it


def test_httpie_searches_and_reads_a_document(server: Server, httpie: Callable[..., str]) -> None:
    said = httpie("POST", server.url + SEARCH, "text=strong coffee", "k:=1", 'fields:=["title"]')
    head, _, body = said.partition("\n\n")
    assert head.startswith("HTTP/1.1 200 OK")
    assert [hit["payload"] for hit in json.loads(body)["hits"]] == [{"title": "Espresso"}]
    assert '"title":"Espresso"' in httpie("GET", f"{server.url}/v1/indexes/docs/documents/a14")


def test_httpie_shows_a_problem(server: Server, httpie: Callable[..., str]) -> None:
    head, _, body = httpie("POST", server.url + SEARCH, "text=coffee", "k=1").partition("\n\n")
    assert "application/problem+json" in head
    assert '/k is "1": expected int, got str.' in body.replace('\\"', '"')
