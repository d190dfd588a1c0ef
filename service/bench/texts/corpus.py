"""Documents, queries that are not among them, and an index of the documents."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import zlib
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import click

from embed.models.folder import DEFAULT_MODEL

NAME, QUERIES, WORDS, PARTS = "bench", 300, 7, 100
PATH = f"/v1/indexes/{NAME}/search"


class Corpus(NamedTuple):
    """
    Args:
        documents: JSON of each.
        queries: those given, or the first words of texts that are in none of the documents.
    """

    name: str
    documents: list[str]
    queries: list[str]


def read(texts: Path | None, rows: int, queries: Path | None = None, held_out: int = QUERIES) -> Corpus:
    """Documents with a number below PARTS to filter by, and queries from others.

    Args:
        texts: JSON Lines of documents; by default docstrings of what is installed here.
        queries: JSON Lines of what is asked; without them the first words of `held_out` documents that are left out.
    """
    held_out = 0 if queries else held_out
    if texts is None:
        from embed.documents.docstrings import read_docstrings
        from embed.documents.document import DocumentSource

        source = read_docstrings(DocumentSource("python:all", "python"))
        found = {each.id: {"id": each.id, "title": each.title, "text": each.text} for each in islice(source, 3 * rows)}
        name, all_ = "docstrings", list(found.values())
    else:
        with texts.open(encoding="utf-8") as opened:
            name, all_ = texts.name, [json.loads(line) for line in islice(opened, rows + held_out)]
    random.Random(0).shuffle(all_)
    asked, kept = all_[:held_out], all_[held_out : held_out + rows]
    if not kept:
        raise click.ClickException(f"{name} has {len(all_):,} texts; more than {held_out} are needed.")
    documents = [json.dumps(each | {"part": part_of(each)}) for each in kept]
    if queries:
        said = [json.loads(line)["text"] for line in queries.read_text(encoding="utf-8").splitlines()]
    else:
        said = [" ".join(each["text"].split()[:WORDS]) for each in asked]
    return Corpus(name, documents, said)


def part_of(document: dict[str, Any]) -> int:
    """A number that has nothing to do with what it says."""
    return zlib.crc32(str(document.get("id", document.get("_id"))).encode()) % PARTS


def build(corpus: Corpus, place: Path, *how: object, model: str = DEFAULT_MODEL) -> None:
    """By the commands that a user would type; nothing where it was done before.

    Args:
        how: More options of `perwatt build`.
    """
    if (place / "indexes" / NAME).exists():
        return
    place.mkdir(parents=True, exist_ok=True)
    (place / "docs.jsonl").write_text("\n".join(corpus.documents) + "\n", encoding="utf-8")
    build_options = ["--index", NAME, "--root", place / "indexes", "--filterable", "part:int", *how]
    for words in (
        ["embed", place / "docs.jsonl", "--out", place / "vectors", "--model", model],
        ["build", place / "vectors", *build_options],
    ):
        command = [sys.executable, "-m", "deploy.command", *map(str, words)]
        if subprocess.run(command, stdout=subprocess.DEVNULL).returncode:
            raise click.ClickException(f"{' '.join(command)} failed")
