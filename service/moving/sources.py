"""From what is written on the command line, as chroma:PATH, to a collection that can be read.

A reader is imported when it is asked for, and asks for its package only then.
"""

from __future__ import annotations

import importlib
from contextlib import AbstractContextManager
from typing import NamedTuple

from service.moving.rows import Collection, MovingError


class Kind(NamedTuple):
    """module: whose `opened(place, collection, key)` reads it; place: what follows the colon."""

    module: str
    place: str


KINDS = {
    "chroma": Kind("service.moving.chroma", "PATH or http://HOST:PORT"),
}


def kind_of(source: str) -> str | None:
    """The engine that a source names; None for what is a file, a folder or a corpus."""
    kind, colon, _place = source.partition(":")
    return kind if colon and kind in KINDS else None


def opened(source: str, collection: str | None, key: str | None) -> AbstractContextManager[Collection]:
    """Raises MovingError where the source is none that can be moved from."""
    kind = kind_of(source)
    if kind is None:
        there = ", ".join(f"{name}:{each.place}" for name, each in KINDS.items())
        raise MovingError(f"{source} is not a place to move vectors from; there are: {there}")
    place = source.partition(":")[2]
    if not place:
        raise MovingError(f"{source} says where nothing is: {kind}:{KINDS[kind].place}")
    made: AbstractContextManager[Collection] = importlib.import_module(KINDS[kind].module).opened(
        place, collection, key
    )
    return made
