"""Documents to write or delete."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta, Raw, Struct

from service.wire import limits
from service.wire.request.fields import EMPTY, NOTHING, Seq, Text, TimeoutMs


class PutDocument(Struct, forbid_unknown_fields=True):
    """payload: a JSON object as hits have it. vector: as in a search; without one the text is encoded, which is `text`,
    or else the title and text of the payload."""

    id: Annotated[str, Meta(min_length=1, max_length=limits.ID_CHARACTERS)]
    payload: Raw = msgspec.field(default_factory=lambda: EMPTY)  # its schema is in http/api/body_schema.py
    text: Text | None = None
    vector: list[float] | str | None = None


class PutRequest(Struct, forbid_unknown_fields=True):
    """Up to 1,000 documents, each decoded on its own so that a bad one spoils no other. within: a filter; a document
    that it hides, as it is or as it would be, is not written."""

    documents: Annotated[list[Raw], Meta(min_length=1, max_length=limits.WRITE_DOCUMENTS)]
    within: Raw = msgspec.field(default_factory=lambda: NOTHING)
    timeout_ms: TimeoutMs | None = None


class DeleteRequest(Struct, forbid_unknown_fields=True):
    """Documents by their ids, or by a filter; dry_run: counts them and deletes none. within: a filter; documents
    that it hides are not there."""

    ids: (
        Annotated[
            list[Annotated[str, Meta(min_length=1, max_length=limits.ID_CHARACTERS)]],
            Meta(min_length=1, max_length=limits.DELETE_DOCUMENTS),
        ]
        | None
    ) = None
    filter: Raw = msgspec.field(default_factory=lambda: NOTHING)
    within: Raw = msgspec.field(default_factory=lambda: NOTHING)
    dry_run: bool = False
    min_seq: Seq | None = None
    timeout_ms: TimeoutMs | None = None


PUT = msgspec.json.Decoder(PutRequest)
PUT_DOCUMENT = msgspec.json.Decoder(PutDocument)
DELETE = msgspec.json.Decoder(DeleteRequest)


def id_in(document: bytes) -> str | None:
    """The id of a document that may be malformed, to name it by."""
    try:
        found = msgspec.json.decode(document)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    id_ = found.get("id") if isinstance(found, dict) else None
    return id_[: limits.NAME_CHARACTERS] if isinstance(id_, str) else None
