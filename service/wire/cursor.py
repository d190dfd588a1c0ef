"""Where the next page begins: an opaque string that is valid for one query on one generation.

A page continues after the last hit of the one before, by score and then by row, and not after a number of hits. A row
has the same score however it was found, so no hit is repeated even when a deeper search finds one that the first
missed. The cursor holds the id of the generation, and a later page is answered by that generation or not at all (410),
because parts of two different indexes do not make one result. A digest ties it to the query; k may change from page to
page.

It is base64 of a few numbers and a checksum. Nothing in it is secret or trusted: a forged cursor gives a page of hits
that the caller's own filter allows anyway.
"""

from __future__ import annotations

import binascii
import hashlib
import math
from typing import Any

import msgspec
from msgspec import Struct

from service.wire import limits
from service.wire.problems import Problem

_CHECK_BYTES = 8


class Cursor(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Hits after (score, row), where `seen` came before.

    Args:
        query: digest of what was asked.
        depth: of the rankings that were fused, 0 where none were.
        rows: how many there were for the first page; later ones are not in any page.
        id: of the last hit, where rows have no numbers that last (behind a router); row is 0 there, and rows 1.
    """

    generation: str
    query: bytes
    seen: int
    score: float
    row: int
    depth: int
    rows: int
    id: str = ""


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(Cursor)


def encode(cursor: Cursor) -> str:
    content = _ENCODER.encode(cursor)
    return binascii.b2a_base64(content + checksum(content), newline=False).decode().replace("+", "-").replace("/", "_")


def decode(given: str, generation: str, query: bytes, rows: int) -> Cursor:
    """The cursor of a request; raises Problem invalid-value for what `encode` did not make or that belongs to another
    query, generation-gone for one of another generation."""
    try:
        cursor = _read(given)
    except (ValueError, msgspec.DecodeError) as error:  # binascii.Error and UnicodeEncodeError are ValueErrors
        raise Problem(
            "invalid-value", f"This is no cursor of this service ({error}); send next_cursor as it came.",
            pointer="/cursor",
        ) from None  # fmt: skip
    if cursor.generation != generation:
        raise Problem(
            "generation-gone",
            f"The cursor belongs to generation {cursor.generation[:128]}, and {generation} answers now; "
            "begin again from the first page.",
            pointer="/cursor",
            current=generation,
        )
    if cursor.query != query:
        raise Problem(
            "invalid-value",
            "The cursor belongs to another query; only k and fields may change from page to page.",
            pointer="/cursor",
        )
    within = (
        0 <= cursor.row < cursor.rows <= rows and 0 < cursor.seen <= limits.PAGED and 0 <= cursor.depth <= limits.PAGED
    )
    if not within or not math.isfinite(cursor.score):
        raise Problem("invalid-value", "The cursor does not fit this generation.", pointer="/cursor")
    return cursor


def rows_of(given: str | None) -> int:
    """How many rows there were for the first page of the one that a cursor asks for; 0 for what is no cursor."""
    try:
        return _read(given).rows if given else 0
    except (ValueError, msgspec.DecodeError):
        return 0


def _read(given: str) -> Cursor:
    """Raises ValueError, or msgspec's DecodeError, for what `encode` did not make."""
    raw = binascii.a2b_base64(given.replace("-", "+").replace("_", "/").encode("ascii"), strict_mode=True)
    content, check = raw[:-_CHECK_BYTES], raw[-_CHECK_BYTES:]
    if check != checksum(content):
        raise ValueError("its checksum is wrong")
    return _DECODER.decode(content)


def digest(*parts: Any) -> bytes:
    """What tells one query from another."""
    return hashlib.blake2b(msgspec.msgpack.encode(parts, order="deterministic"), digest_size=12).digest()


def checksum(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=_CHECK_BYTES, person=b"perwatt cursor").digest()
