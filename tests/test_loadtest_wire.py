"""Of a response the wire finds the end, the status and whether the connection stays, however it arrives."""

from __future__ import annotations

import pytest

from loadtest.generator.wire import Malformed, body_of, response_end, status_of, stays_open

PLAIN = b"HTTP/1.1 200 OK\r\ncontent-type: x\r\ncontent-length: 5\r\n\r\nhello"
OTHER = b"HTTP/1.1 503 Busy\r\nContent-Length:2\r\nConnection: close\r\n\r\nno"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=1\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n"


@pytest.mark.parametrize("whole", [PLAIN, OTHER, CHUNKED])
def test_the_end_is_found_only_when_everything_is_there(whole: bytes) -> None:
    assert [response_end(whole[:n]) for n in range(len(whole))] == [0] * len(whole)
    assert response_end(whole) == len(whole)
    assert response_end(whole + b"HTTP/1.1 200") == len(whole)


def test_bodies_are_joined() -> None:
    assert body_of(PLAIN) == body_of(CHUNKED) == b"hello"
    assert body_of(OTHER) == b"no"


def test_status_and_persistence_are_read() -> None:
    assert status_of(PLAIN) == 200
    assert status_of(OTHER) == 503
    assert stays_open(PLAIN)
    assert not stays_open(OTHER)
    assert not stays_open(PLAIN.replace(b"1.1", b"1.0"))


def test_no_content_ends_with_its_headers() -> None:
    data = b"HTTP/1.1 204 No Content\r\n\r\n"
    assert response_end(data) == len(data)


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: five\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n",
    ],
)
def test_what_is_not_http_is_said(data: bytes) -> None:
    with pytest.raises(Malformed):
        response_end(data)


def test_a_content_length_of_another_header_is_not_taken() -> None:
    data = b"HTTP/1.1 200 OK\r\nx-content-length: 99\r\ncontent-length: 2\r\n\r\nok"
    assert response_end(data) == len(data)
