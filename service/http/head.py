"""The checks of a request's head that come before anything else.

The parser (llhttp, strict) refuses what is not HTTP: bare line feeds, two lengths, a length beside chunks. This module
refuses what the parser accepts but two programs may understand differently, which is how requests are smuggled past a
proxy: two Hosts or none, a target that names another host, chunks in HTTP/1.0, a transfer coding that is not undone
here. Every refusal ends the connection, because it is then unclear where the next request begins.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from httptools import HttpParserCallbackError, HttpParserError

from service.access.hosts import name_in
from service.wire.problems import Problem

Headers = Sequence[tuple[bytes, bytes]]

KNOWN_HOSTS = 256  # good ones that are remembered: a server has a few names, and a caller could send any number
AROUND = 4  # bytes of a header line beside its name and value

_ABSOLUTE = re.compile(rb"https?://(?P<authority>[^/?#]*)/.*", re.IGNORECASE)
_HOP = (b"upgrade", b"http2-settings")  # what a Connection header names along with an Upgrade


def check(method: bytes, version: str, target: bytes, headers: Headers) -> None:
    """Version, method, target and Host of a request. Headers have lower-case names.

    Raises:
        Problem: 505, 501 or 400, with what is wrong.
    """
    if version not in ("1.0", "1.1"):
        raise of_version(version)
    if method == b"CONNECT":
        raise Problem(
            "invalid-value",
            "CONNECT asks for a tunnel, and this is no proxy.",
            status=501,
            title="No such method here",
        )
    hosts = [value.strip() for name, value in headers if name == b"host"]
    if len(hosts) > 1 or (not hosts and version == "1.1"):
        raise _bad_host(f"A request has one Host header, this one has {len(hosts) or 'none'}.")
    if hosts and name_in(hosts[0]) is None:
        raise _bad_host(f"The Host header {_shown(hosts[0])} is neither a name nor an address, with or without a port.")
    if target.startswith(b"/") or target == b"*":
        return
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute is None:
        raise _bad("A request names a path, as in GET /livez.", "The target of the request cannot be used")
    if not hosts or absolute["authority"].lower() != hosts[0].lower():
        named = _shown(absolute["authority"])
        raise _bad_host(f"The request line names {named}, and the Host header does not; send the same in both.")


def check_general(version: str, target: bytes, headers: Headers) -> bool:
    """What only a request that takes the general way can have. Returns whether its body comes in chunks.

    Raises:
        Problem: 501 for a transfer coding other than chunks, 400 for chunks in HTTP/1.0 and for a fragment.
    """
    if b"#" in target:
        raise _bad("A fragment ('#…') stays with the client; leave it out.", "The target of the request cannot be used")
    codings = [value.strip().lower() for name, value in headers if name == b"transfer-encoding"]
    if not codings:
        return False
    if codings != [b"chunked"]:
        raise Problem(
            "invalid-value",
            f"A body comes with a content-length or in chunks, not as {_shown(b', '.join(codings))}.",
            status=501,
            title="That transfer-encoding is not undone here",
        )
    if version != "1.1":
        raise _bad("Only HTTP/1.1 has chunks; send a content-length.", "Chunks in HTTP/1.0")
    return True


def without_upgrade(method: bytes, target: bytes, version: str, headers: Headers) -> bytes:
    """The bytes of a head without its offer to upgrade, which a server may ignore (RFC 9110 7.8)."""
    lines = [b"%b %b HTTP/%b\r\n" % (method, target, version.encode())]
    for name, value in headers:
        if name == b"connection":
            options = (option.strip() for option in value.split(b","))
            value = b", ".join(option for option in options if option.lower() not in _HOP)
        if name not in _HOP:
            lines.append(b"%b: %b\r\n" % (name, value))
    return b"".join([*lines, b"\r\n"])


def of_version(version: str) -> Problem:
    """The answer to another version of HTTP, among them HTTP/2 without TLS."""
    return Problem(
        "invalid-value",
        f"This came as HTTP/{version}, and this server speaks HTTP/1.1; put a proxy in front for HTTP/2.",
        status=505,
        title="This version of HTTP is not spoken here",
    )


def of_bytes(error: HttpParserError) -> Problem:
    """The answer to what the parser does not take; the reason is one of llhttp's, without the caller's bytes."""
    reason = "" if isinstance(error, HttpParserCallbackError) else f": {error}"
    return _bad(f"These bytes are not an HTTP request{reason}.", "Not HTTP")


def of_length(limit_bytes: int) -> Problem:
    """The answer to a head that is too large; its trailers, and what else frames a body, count as head."""
    return Problem(
        "invalid-value",
        f"The head of a request, its trailers included, may have {limit_bytes:,} bytes; this one has more.",
        status=431,
        title="The head is too large",
    )


def _bad(detail: str, title: str) -> Problem:
    return Problem("invalid-value", detail, status=400, title=title)


def _bad_host(detail: str) -> Problem:
    return _bad(detail, "The Host of the request cannot be used")


def _shown(value: bytes) -> str:
    return repr(value[:80].decode("latin-1"))
