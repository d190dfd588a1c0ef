"""One document, and what came of documents that were written or deleted."""

from __future__ import annotations

from typing import Any

from msgspec import Struct


class DocumentAnswer(Struct, frozen=True):
    index: str
    generation: str
    id: str
    payload: Any


class WriteFailure(Struct, frozen=True):
    """place: in the request's list. error: the problem of that document."""

    place: int
    id: str | None
    error: dict[str, Any]


class PutAnswer(Struct, frozen=True, omit_defaults=True):
    """seq: of the last document written, for the min_seq of a search; all of them are on the disk. failed: documents
    that were not written, and why. unweighed: of those written, the ones without sparse weights where the index has
    them, since its sparse model was not to be had: no ranking by them finds these before the next build."""

    index: str
    seq: int
    written: int
    took_ms: float
    failed: list[WriteFailure] = []
    unweighed: int = 0


class DeleteAnswer(Struct, frozen=True):
    """deleted: documents that were there; with dry_run, those that would be."""

    index: str
    seq: int
    deleted: int
    dry_run: bool
    took_ms: float
