"""A rebuild as callers ask for it and see it."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

RebuildState = Literal["running", "cancelling", "succeeded", "failed", "cancelled"]


class RebuildRequest(Struct, forbid_unknown_fields=True, frozen=True):
    """
    Args:
        source: "changes" (the served generation and what was written since), or a name of the server's configuration.
    """

    index: Annotated[str, Meta(min_length=1, max_length=128)]
    source: Annotated[str, Meta(min_length=1, max_length=128)] = "changes"


class RebuildAnswer(Struct, frozen=True):
    """
    Args:
        step: what it is doing: embed, build, check, or what it did last.
        progress: how far that is, in words for people.
        generation: what it built.
        switched: whether that is served.
        detail: why it failed.
    """

    id: str
    index: str
    source: str
    state: RebuildState
    requested_at: str
    step: str = "start"
    progress: str | None = None
    ended_at: str | None = None
    generation: str | None = None
    switched: bool = False
    detail: str | None = None


class RebuildList(Struct, frozen=True):
    """The newest first."""

    rebuilds: list[RebuildAnswer]


REBUILD = msgspec.json.Decoder(RebuildRequest)
