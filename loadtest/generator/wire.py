"""HTTP/1.1 over one kept-alive socket, and nothing else of HTTP.

A general client spends most of its time on what a load generator does not need: redirects, cookies, header objects,
text decoding. Here a request is bytes that were made before the run, and of a response only three things are looked at:
the status, where it ends, and whether the connection stays open. Bodies are kept only for the sampled few.
"""

from __future__ import annotations

import contextlib
import errno
import socket

READ_BYTES = 65_536


class Malformed(Exception):  # noqa: N818 – counted as an error of the server under this name
    """The server sent what is not an HTTP/1.1 response."""


def response_end(data: bytes) -> int:
    """Length in bytes of the complete response at the start of `data`, or 0 while it is still incomplete."""
    head = data.find(b"\r\n\r\n")
    if head < 0:
        if len(data) > READ_BYTES:
            raise Malformed("no end of headers in 64 KiB")
        return 0
    at = data.find(b"\r\ncontent-length: ", 0, head)  # uvicorn and h11 write it so: one search, no copy
    if at < 0:
        lower = data[:head].lower()
        at = lower.find(b"\r\ncontent-length:")
        if at < 0:
            if b"\r\ntransfer-encoding: chunked" in lower:
                return chunked_end(data, head + 4)
            if data[9:12] in (b"204", b"304"):
                return head + 4
            raise Malformed("neither Content-Length nor chunked")
        at -= 1  # no space is required after the colon
    end = data.find(b"\r", at + 2, head + 2)
    try:
        length = int(data[at + 18 : end])
    except ValueError:
        raise Malformed(f"Content-Length is {data[at + 18 : end]!r}") from None
    whole = head + 4 + length
    return whole if len(data) >= whole else 0


def chunked_end(data: bytes, at: int) -> int:
    """End of a chunked body that starts at `at`, or 0 while it is incomplete. Trailers are skipped."""
    while True:
        line = data.find(b"\r\n", at)
        if line < 0:
            return 0
        try:
            size = int(data[at:line].split(b";")[0], 16)
        except ValueError:
            raise Malformed(f"chunk size is {data[at:line]!r}") from None
        if size == 0:
            end = data.find(b"\r\n\r\n", line)
            return end + 4 if end >= 0 else 0
        at = line + 2 + size + 2
        if at > len(data):
            return 0


def status_of(data: bytes) -> int:
    if data[:7] != b"HTTP/1." or not data[9:12].isdigit():
        raise Malformed(f"the response starts with {data[:16]!r}")
    return int(data[9:12])


def stays_open(data: bytes) -> bool:
    """False when the server says that it closes the connection after this response."""
    head = data.find(b"\r\n\r\n")
    return data.find(b"onnection: close", 0, head) < 0 and data[:9] == b"HTTP/1.1 "


def body_of(data: bytes) -> bytes:
    """The body of a complete response; chunks joined."""
    head = data.find(b"\r\n\r\n")
    if b"\r\ntransfer-encoding: chunked" not in data[:head].lower():
        return data[head + 4 :]
    parts: list[bytes] = []
    at = head + 4
    while True:
        line = data.find(b"\r\n", at)
        size = int(data[at:line].split(b";")[0], 16)
        if size == 0:
            return b"".join(parts)
        parts.append(data[line + 2 : line + 2 + size])
        at = line + 2 + size + 2


def server_timing_ms(data: bytes) -> dict[str, float]:
    """What a complete response says of its stages in Server-Timing (W3C): name → milliseconds; empty without it."""
    head = data[: data.find(b"\r\n\r\n")]
    at = head.lower().find(b"\r\nserver-timing:")
    if at < 0:
        return {}
    value = head[at + 16 :].split(b"\r\n", 1)[0].decode("latin-1")
    found = {}
    for entry in value.split(","):
        name, *parameters = (part.strip() for part in entry.split(";"))
        for parameter in parameters:
            key, _, number = parameter.partition("=")
            if key.strip().lower() == "dur":
                with contextlib.suppress(ValueError):
                    found[name] = float(number.strip().strip('"'))
    return found


def dial(family: socket.AddressFamily, address: tuple[object, ...], make: type[socket.socket]) -> socket.socket:
    """A non-blocking socket on its way to `address`; it becomes writable when it has arrived."""
    sock = make(family, socket.SOCK_STREAM)
    sock.setblocking(False)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    problem = sock.connect_ex(address)
    if problem not in (0, errno.EINPROGRESS):
        sock.close()
        raise OSError(problem, errno.errorcode.get(problem, "connect"))
    return sock
