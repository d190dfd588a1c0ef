"""Inputs of a job that lie in a store of objects: found by the rules for files, and fetched where they are read.

A folder of empty files stands for a folder of objects: they are as large as the objects are, with no bytes on the disk.
What it takes to find inputs among files finds them there. Whoever plans a job fetches one object after the other; a
worker fetches the bytes of its fragment and puts them where they are in the whole.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from embed.documents.document import DocumentSource, NoSuchInputError, UnreadableInputError
from embed.documents.inputs import find_sources
from embed.documents.pieces import ChangedInputError, FragmentFile, Fragments, cut
from index.backup.address import SCHEMES, is_address, open_store
from index.backup.store import MissingError
from index.errors import InputError

if TYPE_CHECKING:
    from index.backup.objects import Objects

_MARKS = "*?["
_TAIL_BYTES = 64 << 10  # of a Parquet file, which says where its row groups are; more where that is larger


def job_sources(
    inputs: Sequence[str], format: str | None, separator: str | None, scratch: Path
) -> list[DocumentSource]:
    """As `find_sources`; an object is an empty file below `scratch`, with its address for a name.

    Raises NoSuchInputError where an input names nothing, BackupError where a store cannot be used.
    """
    here = [str(_outlined(each, scratch)) if is_address(each) else each for each in inputs]
    try:
        sources = find_sources(here, format, separator)
    except UnreadableInputError as error:
        raise type(error)(_with_addresses(str(error), scratch)) from error
    for source in sources:
        if source.path is not None and source.path.is_relative_to(scratch):
            scheme, _, rest = str(source.path.relative_to(scratch)).partition("/")
            source.name = f"{scheme}://{rest}"
    return sources


def cut_sources(sources: Sequence[DocumentSource], most_bytes: int | None) -> Fragments:
    """As `cut`; of an object the path is its address."""
    return [
        [dataclasses.replace(file, path=file.name) if is_address(file.name) else file for file in files]
        for files in cut(sources, most_bytes, _fetched)
    ]


def at_hand(file: FragmentFile, folder: Path) -> FragmentFile:
    """The same with its bytes on this machine: below `folder`, where they were in a store.

    Raises ChangedInputError or UnreadableInputError where the object is not what it was when it was planned for.
    """
    if not is_address(file.path):
        return file
    store, name = _opened(file.path)
    try:
        size = store.size(name)
    except MissingError as error:
        raise UnreadableInputError(str(error)) from error
    if size < file.end:
        raise ChangedInputError(f"{file.name} was changed since the job was planned; run the job again")
    path = folder / Path(name).name
    folder.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as opened:
        opened.truncate(size)
    _fill(store, name, path, file.start, file.end)
    if file.format == "parquet":
        tail = min(size, _TAIL_BYTES)
        _fill(store, name, path, size - tail, size)
        with path.open("rb") as opened:
            opened.seek(max(0, size - 8))
            needed = int.from_bytes(opened.read(4), "little") + 8
        if tail < needed <= size:
            _fill(store, name, path, size - needed, size)
    return dataclasses.replace(file, path=str(path))


def _with_addresses(text: str, scratch: Path) -> str:
    for scheme in SCHEMES:
        text = text.replace(f"{scratch}/{scheme}/", f"{scheme}://")
    return text


def _outlined(address: str, scratch: Path) -> Path:
    """The folder, file or glob below `scratch` that stands for an address."""
    scheme, _, place = address.rstrip("/").partition("://")
    bucket, _, name = place.partition("/")
    if not bucket or any(mark in bucket for mark in _MARKS):
        raise NoSuchInputError(f"{address} names no bucket; expected {scheme}://BUCKET/NAME, a folder or a glob")
    top = scratch / scheme / bucket
    store = open_objects(f"{scheme}://{bucket}")
    parts = name.split("/") if name else []
    fixed = next((number for number, part in enumerate(parts) if any(mark in part for mark in _MARKS)), len(parts))
    folder = "/".join(parts[:fixed])
    found = {f"{folder}/{each}" if folder else each: size for each, size in store.below(folder).items()}
    if not found and fixed == len(parts):
        try:
            found = {name: store.size(name)}
        except MissingError as error:
            raise NoSuchInputError(f"there is no object {address}, and none below it") from error
    for each, size in found.items():
        if not {"", ".", ".."}.isdisjoint(each.split("/")):  # what marks a folder in some stores
            continue
        path = top / each
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as file:
                file.truncate(size)
        except OSError as error:
            raise UnreadableInputError(
                f"{scheme}://{bucket}/{each} has a name that no file can have: {error}"
            ) from None
    return top / name


@contextmanager
def _fetched(source: DocumentSource) -> Iterator[None]:
    """An object with all its bytes, for as long as it is cut."""
    if not is_address(source.name) or source.path is None:
        yield
        return
    store, name = _opened(source.name)
    size = source.path.stat().st_size
    _fill(store, name, source.path, 0, size)
    try:
        yield
    finally:
        with source.path.open("wb") as file:
            file.truncate(size)


def _fill(store: Objects, name: str, path: Path, start: int, end: int) -> None:
    with path.open("r+b") as file:
        file.seek(start)
        for chunk in store.chunks(name, start, end):
            file.write(chunk)


def _opened(address: str) -> tuple[Objects, str]:
    """The bucket of an object, and its name there."""
    scheme, _, place = address.partition("://")
    bucket, _, name = place.partition("/")
    return open_objects(f"{scheme}://{bucket}"), name


def open_objects(address: str) -> Objects:
    from index.backup.objects import Objects

    store = open_store(address)
    if not isinstance(store, Objects):
        raise InputError(f"{address} is a folder; expected s3://BUCKET/PREFIX")
    return store
