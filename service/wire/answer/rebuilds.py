"""Rebuilds: how far each is, or how it ended."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

RebuildState = Literal["running", "cancelling", "succeeded", "failed", "cancelled"]


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
