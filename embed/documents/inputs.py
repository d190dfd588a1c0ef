"""From what is written on the command line to a stream of documents.

INPUT is a file, a folder (all known files below it, sorted by path), a glob, `-` for stdin, or a
`python:` corpus. The extension tells the format; --format overrides it, and stdin is JSON Lines
unless it says otherwise. A folder in BEIR's shape holds its queries beside its corpus: there, only
the corpus is taken; and where there are tables of documents, pages beside them (a README.md) are none,
which is said. Vectors folders below a folder are what was made of documents, and none of them.

Ids are checked here, once for all inputs, by 16-byte hashes in sorted arrays: 24 bytes a document
however long the ids are, so that ten million documents cost 240 MB and not several GB."""

import glob
import gzip
import hashlib
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate, islice
from pathlib import Path
from typing import BinaryIO, TypeVar, cast

import numpy as np

from embed.documents.csv import read_csv
from embed.documents.docstrings import PREFIX, check_name, read_docstrings
from embed.documents.document import (
    PAGES,
    Document,
    DocumentError,
    DocumentSource,
    Faults,
    FieldNames,
    FilePiece,
    NoSuchInputError,
    UnreadableInputError,
)
from embed.documents.jsonl import read_jsonl
from embed.documents.pages import read_page
from embed.documents.parquet import read_parquet
from embed.vectors.hashes import HASH_BYTES, HashIndex
from embed.vectors.manifest import MANIFEST

Some = TypeVar("Some", bound=Document)

FORMATS = ("jsonl", "csv", "tsv", "parquet", *PAGES)
EXTENSIONS = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".md": "markdown",
    ".markdown": "markdown",
    ".html": "html",
    ".htm": "html",
    ".pdf": "pdf",
}
READERS = {
    "jsonl": read_jsonl,
    "csv": read_csv,
    "tsv": read_csv,
    "parquet": read_parquet,
    **dict.fromkeys(PAGES, read_page),
}
# A text file is sampled for the density of its lines in so many places, so many bytes at each.
SAMPLES, SAMPLE_BYTES = 256, 16 << 10
# Ids are looked up this many at a time: one at a time would cost more than reading the document.
CHECKED_TOGETHER = 1024


def format_of(path: Path) -> str | None:
    """The format that the extension tells, `.gz` aside; None where it tells none."""
    name = path.name.lower().removesuffix(".gz")
    return EXTENSIONS.get(Path(name).suffix)


def find_sources(
    inputs: Sequence[str], format: str | None = None, separator: str | None = None, out: Path | None = None
) -> list[DocumentSource]:
    """The sources that the inputs name, in order, each file once.

    Args:
        inputs: files, folders, globs, "-" for stdin, python: corpora.
        format: of all files; by default what the extension of each says.
        separator: of all CSV and TSV files; by default a comma and a tab.
        out: where vectors will be written: what lies there is no input of a folder around it.

    NoSuchInputError where an input names nothing; InputError where a format cannot be told.
    """
    sources: list[DocumentSource] = []
    seen: set[Path] = set()
    for given in inputs:
        if given == "-":
            sources.append(DocumentSource("stdin", format or "jsonl"))
        elif given.startswith(PREFIX):
            check_name(given.removeprefix(PREFIX))
            sources.append(DocumentSource(given, "python"))
        else:
            paths, note = _paths(given, out)
            for path in paths:
                if path.resolve() not in seen:
                    seen.add(path.resolve())
                    known = format or format_of(path)
                    if known is None:
                        raise UnreadableInputError(_unknown_extension(path))
                    name = os.fsencode(path).decode(errors="replace")
                    found = DocumentSource(name, known, path=path, size_bytes=path.stat().st_size)
                    if Path(given).is_dir():
                        found.inside = os.fsencode(path.relative_to(given)).decode(errors="replace")
                    if note:
                        found.notes.append(note)
                        note = ""
                    sources.append(found)
    for number, source in enumerate(sources):
        source.number, source.separator = number, separator
    return sources


def read_documents(
    sources: Sequence[DocumentSource], names: FieldNames, faults: Faults, none_is_fine: bool = False
) -> Iterator[Document]:
    """The documents of all sources in order, ids unique. InputError where there is none at all, unless that is fine."""
    count = 0
    for document in unique(_read_all(sources, names, faults), sources, faults):
        count += 1
        yield document
    if not count and not none_is_fine:
        given = ", ".join(source.name for source in sources[:5])
        why = f"all {faults.skipped} were skipped, first: {faults.first[0]}" if faults.skipped else "there is none"
        raise UnreadableInputError(f"no document could be read from {given}: {why}")


def _read_all(sources: Iterable[DocumentSource], names: FieldNames, faults: Faults) -> Iterator[Document]:
    for source in sources:
        if source.format == "python":
            yield from read_docstrings(source)
            continue
        reader = READERS[source.format]
        with _open(source) as stream:
            yield from reader(stream, source, names, faults)
        source.done_bytes = source.size_bytes


@contextmanager
def _open(source: DocumentSource) -> Iterator[BinaryIO]:
    if source.path is None:
        yield _stdin()
        return
    try:
        stream = source.path.open("rb", buffering=1 << 20)
    except OSError as error:
        raise UnreadableInputError(f"{source.name}: cannot be opened: {error.strerror}") from error
    with stream:
        if source.format in ("parquet", "pdf"):
            yield stream
        elif source.path.name.lower().endswith(".gz"):
            with gzip.GzipFile(fileobj=_CountedBytes(stream, source), mode="rb") as unpacked:
                yield cast(BinaryIO, unpacked)
        else:
            if source.piece is not None:
                yield cast(BinaryIO, _PieceOfLines(stream, source.piece))
                return
            if source.format not in PAGES:
                source.lines_after = _lines_after(source.path, source.size_bytes)
            yield stream


def _stdin() -> BinaryIO:
    """stdin with a buffer of its own: a thread that waits for more must not hold a lock that Python's exit needs."""
    try:
        return open(sys.stdin.fileno(), "rb", buffering=1 << 20, closefd=False)
    except (OSError, ValueError):  # no file but an object, in a notebook or a test
        return sys.stdin.buffer
    except AttributeError:
        raise UnreadableInputError("stdin: is closed, and documents were expected there") from None


def _lines_after(path: Path, size_bytes: int) -> list[float]:
    """About how many lines there are from each piece of the file on; nothing where no sample can be taken."""
    pieces = min(SAMPLES, -(-size_bytes // SAMPLE_BYTES))
    lines: list[float] = []
    try:
        with path.open("rb", buffering=0) as file:
            for number in range(pieces):
                file.seek(max(0, size_bytes * (2 * number + 1) // (2 * pieces) - SAMPLE_BYTES // 2))
                sample = file.read(SAMPLE_BYTES)
                lines.append(sample.count(b"\n") / max(1, len(sample)) * size_bytes / pieces)
    except OSError:
        return []  # it is met again, and named, where the file is read
    return [*accumulate(reversed([*lines, 0.0]))][::-1] if lines else []


class _PieceOfLines:
    """The lines of a piece of a file."""

    def __init__(self, stream: BinaryIO, piece: FilePiece) -> None:
        stream.seek(piece.start)
        self._stream, self._left = stream, piece.end - piece.start

    def readline(self, size: int) -> bytes:
        line = self._stream.readline(min(size, self._left))
        self._left -= len(line)
        return line


class _CountedBytes:
    """The file under a gzip file, which notes in its source how far it was read."""

    def __init__(self, stream: BinaryIO, source: DocumentSource) -> None:
        self._stream = stream
        self._source = source

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        self._source.done_bytes += len(data)
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._stream.seek(offset, whence)


def unique(documents: Iterator[Some], sources: Sequence[DocumentSource], faults: Faults) -> Iterator[Some]:
    """Each id once; the second document with an id is a fault that names both places."""
    ids = HashIndex()
    while batch := list(islice(documents, CHECKED_TOGETHER)):
        digests = [hashlib.blake2b(d.id.encode(), digest_size=HASH_BYTES).digest() for d in batch]
        keys = np.frombuffer(b"".join(digests), dtype=f"S{HASH_BYTES}")
        earlier = ids.find(keys)
        places = np.array([document.source.number << 40 | document.row for document in batch], dtype=np.int64)
        here: dict[bytes, int] = {}
        kept = np.zeros(len(batch), dtype=bool)
        for number, (document, digest) in enumerate(zip(batch, digests, strict=True)):
            place = int(earlier[number]) if earlier[number] >= 0 else here.setdefault(digest, int(places[number]))
            if place == places[number]:
                kept[number] = True
                yield document
            else:
                first = sources[place >> 40].at(place & (1 << 40) - 1)
                faults.meet(DocumentError(f"{document.where}: id {document.id!r} was given before, at {first}"))
        ids.add(keys[kept], places[kept])


def _paths(given: str, out: Path | None) -> tuple[list[Path], str]:
    """The files that an input names, and what there is to say of those that were left out."""
    path = Path(given)
    if path.is_dir():
        return _below(path, out)
    if path.exists():
        return [path], ""
    if any(mark in given for mark in "*?["):
        found = sorted(Path(name) for name in glob.glob(given, recursive=True))  # noqa: PTH207 (absolute patterns)
        files = [name for name in found if name.is_file()]
        if files:
            return files, ""
        raise NoSuchInputError(f"no file matches {given}")
    raise NoSuchInputError(f"there is no file or folder {given}")


def _below(folder: Path, out: Path | None) -> tuple[list[Path], str]:
    made = {path.parent for path in folder.rglob(MANIFEST) if any(path.parent.glob("part-*.parquet"))} - {folder}
    if out is not None and folder.resolve() in out.resolve().parents:
        made.add(folder / out.resolve().relative_to(folder.resolve()))
    files = sorted(
        path
        for path in folder.rglob("*")
        if format_of(path)
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and made.isdisjoint(path.parents)
    )
    if not files:
        raise NoSuchInputError(f"no file below {folder} ends in {', '.join(EXTENSIONS)} (or one of them and .gz)")
    names = {path.name.removesuffix(".gz"): path for path in files if path.parent == folder}
    if "corpus.jsonl" in names and "queries.jsonl" in names:
        return [names["corpus.jsonl"]], ""
    tables = [path for path in files if format_of(path) not in PAGES]
    pages = len(files) - len(tables)
    if not tables or not pages:
        return files, ""
    return tables, f"{folder}: {pages:,} pages beside tables of documents were left out. Name them to embed them"


def _unknown_extension(path: Path) -> str:
    hint = "; a JSON array becomes JSON Lines with: jq -c '.[]'" if path.suffix.lower() == ".json" else ""
    return (
        f"{path}: the extension tells no format; known are {', '.join(EXTENSIONS)}. "
        f"Say which it is with --format {'|'.join(FORMATS)}{hint}"
    )
