"""Runs of the embedding pipeline over a few made documents, with an encoder that hashes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hashing_encoder import HashingEncoder

from embed.documents.document import Document, DocumentError, DocumentSource
from embed.pipeline import EmbedSettings, embed_documents
from embed.vectors.record import EmbedRecord

SMALL = {"window_rows": 64, "slice_texts": 8, "spool_every_s": 0.0}
SOURCE = DocumentSource("test.jsonl", "jsonl")


def documents(numbers: Sequence[int], text: str = "document number {} " * 3, **more: object) -> list[Document]:
    made = []
    for row, number in enumerate(numbers):
        body = text.replace("{}", str(number)) + "long " * (number % 50)
        made.append(Document(f"d{number}", "", body, {"text": body, **more}, SOURCE, row + 1))
    return made


def run(
    out: Path, given: Sequence[Document], encoder: HashingEncoder | None = None, **settings: Any
) -> tuple[EmbedRecord, HashingEncoder]:
    encoder = encoder or HashingEncoder()
    warnings: list[str] = []
    record = embed_documents(given, encoder, out, EmbedSettings(**{**SMALL, **settings}), warn=warnings.append)
    run_warnings[:] = warnings
    return record, encoder


run_warnings: list[str] = []


def broken(given: Sequence[Document]) -> Iterator[Document]:
    yield from given
    raise DocumentError("test.jsonl:9: no")
