"""How much one request may ask for, and the reading of a body within those limits.

The limit is enforced while reading: a body that declares too much is refused before its first byte, one that declares
nothing at the byte that exceeds the limit, and neither is ever held in memory beyond it. After a refusal the server
reads and discards a little longer (`DRAIN_BYTES`, `DRAIN_S`): closing a connection while its client is still sending
resets it, and the answer that says why would be lost.

Compressed requests are refused, so that no kilobyte can inflate to a gigabyte here.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from typing import Any, TypeVar

import msgspec
from msgspec import Raw
from starlette.types import Message, Receive, Scope

from index.search import filtering
from service.wire.problems import Problem, of_undecodable

# Of a search that is read page by page. A fused score hangs on how deep the rankings were, so all pages have to come of
# the same depth, or rows would come twice or never; and the pages end where it does.
PAGED_DEPTH = 1000


BODY_BYTES = 1 << 20
BATCH_BODY_BYTES = 8 << 20
BATCH_QUERIES = 256
EMBEDDINGS_INPUTS = 2048  # as many as OpenAI takes
TEXT_CHARACTERS = 8192
ID_CHARACTERS = 1024  # as many bytes as an id may have in an index
NAME_CHARACTERS = 256
K = 1000
FIELDS = 64
PAGED = 10_000  # hits that a cursor may lead past; a page looks for all that came before it too
CURSOR_CHARACTERS = 512
KEY_CHARACTERS = 255  # of an Idempotency-Key
RRF_K = 10_000
SEVERAL = 16  # indexes that one query searches
LIKES = 64  # documents that a query is like, and as many that it is unlike
HIGHLIGHTED, HIGHLIGHT_FIELDS, HIGHLIGHT_FRAGMENTS, HIGHLIGHT_CHARACTERS = 100, 8, 5, 1000
HIGHLIGHT_READ = 10_000  # characters of a field that are looked through for words
FACETS, FACET_VALUES, FACET_RANGES = 32, 1000, 64
RECALL_QUERIES = 2000
RERANKED = 200  # hits that a reranker reads
PART_ROWS = 25_000  # that a router asks of a shard: as many as groups and pages look through
PART_HITS = 300_000  # of all queries of one request to a shard: as a batch of the largest k asks for
PART_VALUES = 100_000  # of a facet, that a shard tells a router
WRITE_DOCUMENTS, DELETE_DOCUMENTS = 1000, 10_000  # in one request
CHANGES = 200_000  # rows that were put since the generation; beyond it writes are refused until it is rebuilt
EFFORT = 1 << 16
SEQ = (1 << 53) - 1  # the largest integer that every JSON parser keeps
TIMEOUT_MS = 60_000
WRITE_TIMEOUT_MS = TIMEOUT_MS  # of one that names none: a thousand texts take longer than a search may
FILTER_NODES, FILTER_DEPTH, FILTER_VALUES = filtering.MAX_NODES, filtering.MAX_DEPTH, filtering.MAX_VALUES
WHOLE_BYTES = 4 << 10  # of a field that may hold an integer written as a float
WHOLE_NUMBERS = 1 << 53  # up to which a float is one
DRAIN_BYTES = 4 << 20
DRAIN_S = 2.0

T = TypeVar("T")


def as_dict() -> dict[str, int]:
    """The limits under the names `/version` publishes; units are in the names."""
    return {
        "body_bytes": BODY_BYTES,
        "batch_body_bytes": BATCH_BODY_BYTES,
        "batch_queries": BATCH_QUERIES,
        "embeddings_inputs": EMBEDDINGS_INPUTS,
        "text_characters": TEXT_CHARACTERS,
        "id_characters": ID_CHARACTERS,
        "k": K,
        "fields": FIELDS,
        "paged_hits": PAGED,
        "paged_fusion_depth": PAGED_DEPTH,
        "reranked": RERANKED,
        "effort": EFFORT,
        "filter_nodes": FILTER_NODES,
        "filter_depth": FILTER_DEPTH,
        "filter_values": FILTER_VALUES,
        "indexes": SEVERAL,
        "likes": LIKES,
        "highlighted_hits": HIGHLIGHTED,
        "highlight_characters": HIGHLIGHT_READ,
        "facets": FACETS,
        "facet_values": FACET_VALUES,
        "facet_ranges": FACET_RANGES,
        "timeout_ms": TIMEOUT_MS,
        "write_documents": WRITE_DOCUMENTS,
        "delete_documents": DELETE_DOCUMENTS,
        "changes": CHANGES,
    }


async def read_body(scope: Scope, receive: Receive, limit_bytes: int) -> bytes:
    """The whole body of a JSON request, at most `limit_bytes` long.

    Raises Problem: body-too-large (413), unsupported-encoding (415: a content-encoding, or a type
    that is not JSON).
    """
    declared = 0
    content_type = b""
    for name, value in scope["headers"]:
        if name == b"content-type":
            content_type = value
        elif name == b"content-length":
            declared = int(value)  # digits only: the HTTP parser has checked
        elif name == b"content-encoding" and value.strip().lower() not in (b"", b"identity"):
            raise Problem(
                "unsupported-encoding",
                f"A body with content-encoding {value.decode('latin-1')!r} is not accepted; send it as it is.",
            )
    if content_type != b"application/json":
        _require_json(content_type)
    if declared > limit_bytes:
        if declared <= limit_bytes + DRAIN_BYTES:
            await _drain(receive)
        raise _too_large(limit_bytes, declared)

    message = await receive()
    body: bytes = message.get("body", b"")
    if not message.get("more_body") and len(body) <= limit_bytes:  # nearly every request
        return body
    chunks: list[bytes] = []
    read = 0
    while True:
        _still_there(message)
        chunk: bytes = message.get("body", b"")
        read += len(chunk)
        if read > limit_bytes:
            chunks.clear()
            if message.get("more_body"):
                await _drain(receive)
            raise _too_large(limit_bytes)
        chunks.append(chunk)
        if not message.get("more_body"):
            return b"".join(chunks)
        message = await receive()


def decode(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    """`body` as the struct of `decoder`; raises Problem bad-json, unknown-field or
    invalid-value."""
    try:
        try:
            return decoder.decode(body)
        except msgspec.ValidationError as error:
            if "got `float`" not in str(error):
                raise
            return decoder.decode(_with_whole_numbers(body, decoder.type))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise of_undecodable(error, body, decoder.type) from None


def _with_whole_numbers(body: bytes, struct: Any) -> bytes:
    """The same JSON with 10 for 10.0: to JSON Schema, and to languages of one kind of number, that is an integer.
    Fields that are long hold none, and are taken over as they are."""
    fields = msgspec.json.decode(body, type=_in_raw_fields(struct))
    for name in fields.__struct_fields__:
        raw = getattr(fields, name)
        if raw is not msgspec.UNSET and len(bytes(raw)) <= WHOLE_BYTES:
            setattr(fields, name, Raw(msgspec.json.encode(_whole(msgspec.json.decode(raw)))))
    return msgspec.json.encode(fields)


@functools.cache
def _in_raw_fields(struct: type[msgspec.Struct]) -> type[msgspec.Struct]:
    fields = [(name, Raw | msgspec.UnsetType, msgspec.UNSET) for name in struct.__struct_fields__]
    return msgspec.defstruct(struct.__name__, fields, forbid_unknown_fields=True)


def _whole(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer() and abs(value) <= WHOLE_NUMBERS:
        return int(value)
    if isinstance(value, dict):
        return {name: _whole(each) for name, each in value.items()}
    return [_whole(each) for each in value] if isinstance(value, list) else value


def _require_json(content_type: bytes) -> None:
    kind, _, parameters = content_type.decode("latin-1").partition(";")
    charset = parameters.replace(" ", "").lower()
    if kind.strip().lower() != "application/json" or charset not in (
        "",
        "charset=utf-8",
        'charset="utf-8"',
    ):
        given = content_type.decode("latin-1") or "no content-type"
        raise Problem(
            "unsupported-encoding",
            f"The body came as {given}; send JSON with the header 'content-type: application/json'.",
        )


def _too_large(limit_bytes: int, declared: int | None = None) -> Problem:
    given = f"{declared:,} bytes" if declared else "more"
    return Problem(
        "body-too-large",
        f"The body may have {limit_bytes:,} bytes here, this one has {given}; split it into several requests.",
        headers={"connection": "close"},
        limit_bytes=limit_bytes,
    )


async def _drain(receive: Receive) -> None:
    read = 0
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(DRAIN_S):
            while read <= DRAIN_BYTES:
                message = await receive()
                read += len(message.get("body", b""))
                if message["type"] == "http.disconnect" or not message.get("more_body"):
                    return


def _still_there(message: Message) -> None:
    if message["type"] == "http.disconnect":
        raise ClientGone


class ClientGone(Exception):  # noqa: N818 - an event, and nobody's error
    """The caller hung up before its request was complete, so there is no one to answer."""
