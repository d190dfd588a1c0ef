"""A measurement of recall."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Raw, Struct

from service.wire import limits
from service.wire.request.fields import NOTHING, Text, TimeoutMs


class RecallParams(Struct, forbid_unknown_fields=True, frozen=True):
    """effort: as in a search. What is measured is a search by vectors, held against an exact one, so a search's other
    params have no meaning here."""

    effort: Annotated[int, Meta(ge=1, le=limits.EFFORT)] | Literal["target"] | None = None


class RecallRequest(Struct, forbid_unknown_fields=True):
    """How many queries to measure with, or the texts themselves; k and filter as in a search."""

    queries: Annotated[int, Meta(ge=10, le=limits.RECALL_QUERIES)] = 200
    texts: Annotated[list[Text], Meta(min_length=1, max_length=limits.BATCH_QUERIES)] | None = None
    k: Annotated[int, Meta(ge=1, le=100)] = 10
    filter: Raw = msgspec.field(default_factory=lambda: NOTHING)
    params: RecallParams | None = None
    timeout_ms: TimeoutMs | None = None


RECALL = msgspec.json.Decoder(RecallRequest)
