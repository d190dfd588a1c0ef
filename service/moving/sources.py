"""From what is written on the command line, as chroma:PATH, to a collection that can be read.

A reader is imported when it is asked for, and asks for its package only then.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import NamedTuple

from service.moving.rows import Collection, MovingError, SourceOptions


class Kind(NamedTuple):
    """opener: what reads it, as module:name; place: what follows the colon."""

    opener: str
    place: str


KINDS = {
    "chroma": Kind("service.moving.chroma:opened", "PATH or http://HOST:PORT"),
    "npy": Kind("service.moving.arrays:npy", "FILE"),
    "faiss": Kind("service.moving.arrays:faiss", "FILE"),
    "parquet": Kind("service.moving.files:parquet", "FILE, FOLDER or GLOB"),
    "dataset": Kind("service.moving.files:dataset", "FOLDER"),
    "lancedb": Kind("service.moving.lancedb:opened", "FOLDER"),
    "pgvector": Kind("service.moving.pgvector:opened", "postgresql://HOST/DATABASE"),
    "qdrant": Kind("service.moving.qdrant:opened", "http://HOST:PORT or FILE.snapshot"),
}


def kind_of(source: str) -> str | None:
    """The engine that a source names; None for what is a file, a folder or a corpus."""
    kind, colon, _place = source.partition(":")
    return kind if colon and kind in KINDS else None


def opened(source: str, asked: SourceOptions) -> AbstractContextManager[Collection]:
    """What the source holds; its place is added to what is asked.

    Raises:
        MovingError: It is none that can be moved from.
    """
    kind = kind_of(source)
    if kind is None:
        there = ", ".join(f"{name}:{each.place}" for name, each in KINDS.items())
        raise MovingError(f"{source} is not a place to move from; there are: {there}")
    place = source.partition(":")[2]
    if not place:
        raise MovingError(f"{source} does not say where it is: {kind}:{KINDS[kind].place}")
    module, name = KINDS[kind].opener.split(":")
    opener: Callable[[SourceOptions], AbstractContextManager[Collection]] = getattr(
        importlib.import_module(module), name
    )
    return opener(replace(asked, place=place))
