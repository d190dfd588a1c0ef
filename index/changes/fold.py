"""Rows for the next generation: those of a base with the changes since laid over them.

The base is the generation that is served, or a folder of vectors that was embedded anew. A document that was put comes
from its last put, one that was deleted not at all, every other from the base. What comes out says up to which change it
goes, so a server of it applies only later changes: no write is lost between two generations, and none is done twice.
"""

from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from index.changes.log_file import Change
from index.changes.log_reader import LogReader
from index.disk.vectors_folder import BATCH_ROWS, Batch, VectorsFolder
from index.errors import GenerationError, InputError
from index.search.generation import Generation

FOLDER = "folder"


class FoldedTo(NamedTuple):
    """Up to which change of which log a generation goes. log 0: of none."""

    log: int
    seq: int


def folded_to(manifest: dict[str, Any]) -> FoldedTo:
    """What a generation's manifest says; FoldedTo(0, 0) for one that was built before there were changes."""
    entry = manifest.get("changes")
    if entry is None:
        return FoldedTo(0, 0)
    if not isinstance(entry, dict) or type(entry.get("log")) is not int or type(entry.get("seq")) is not int:
        raise ValueError("'changes' does not say up to which change of which log it goes")
    return FoldedTo(entry["log"], entry["seq"])


def needed_of(manifest: dict[str, Any]) -> FoldedTo:
    """Up to which change nothing need be kept for a generation and those that are built after it as it was. One from a
    folder needs every change: the folder holds none, and they are laid over it again the next time."""
    held = folded_to(manifest)
    return FoldedTo(held.log, 0) if (manifest.get("changes") or {}).get("over") == FOLDER else held


class Folded:
    """A source of rows for a build, like a folder of vectors."""

    def __init__(self, base: Generation | VectorsFolder, changes: Iterable[Change], upto: FoldedTo) -> None:
        """changes: those after what the base holds, in their order. upto: the last of them."""
        self.base, self.folded = base, upto
        self.dim, self.canaries = base.dim, _canaries(base)
        self.model: dict[str, Any] | None = base.manifest["model"] if isinstance(base, Generation) else base.model
        self._integers = isinstance(base, Generation) and base.manifest["id_type"] != "str"
        self._last: dict[str, Change] = {}
        for change in changes:
            self._last.pop(change.id, None)
            self._last[change.id] = change
        self._puts = [change for change in self._last.values() if change.vector is not None]
        self.changed = len(self._last)
        kept = sum(len(batch.ids) for batch in self._kept(vectors=False)) if self._last else base.count
        self.count = kept + len(self._puts)
        if self.count == 0:
            raise InputError("after these changes the index would be empty, and an index needs at least one document")

    @property
    def entry(self) -> dict[str, Any]:
        """Of the manifest: up to which change it goes, and whether they were laid over a folder."""
        over = {"over": FOLDER} if self._last and isinstance(self.base, VectorsFolder) else {}
        return self.folded._asdict() | over

    @property
    def changed_ids(self) -> Collection[str]:
        """Of the documents that were put or deleted since the base."""
        return self._last.keys()

    def check(self, threads: int) -> None:
        if isinstance(self.base, VectorsFolder):
            self.base.check(threads)

    def batches(self) -> Iterator[Batch]:
        yield from self._kept(vectors=True)
        for start in range(0, len(self._puts), BATCH_ROWS):
            some = self._puts[start : start + BATCH_ROWS]
            vectors = np.frombuffer(b"".join(change.vector or b"" for change in some), "<f4").reshape(-1, self.dim)
            yield Batch(
                self._ids([change.id for change in some]),
                vectors.astype(np.float32),
                [change.payload or b"{}" for change in some],
            )

    def _kept(self, *, vectors: bool) -> Iterator[Batch]:
        """Rows of the base that no change touches."""
        for batch in self._of_base(vectors=vectors):
            rows = [row for row, id_ in enumerate(batch.ids) if str(id_) not in self._last]
            if len(rows) == len(batch.ids):
                yield batch
            elif rows:
                payload = None if batch.payload is None else [batch.payload[row] for row in rows]
                yield Batch(_picked(batch.ids, rows), batch.vectors[rows] if vectors else batch.vectors, payload)

    def _of_base(self, *, vectors: bool) -> Iterator[Batch]:
        base = self.base
        if isinstance(base, VectorsFolder):
            yield from base.batches()
            return
        nothing = np.zeros((0, self.dim), np.float32)
        for start in range(0, base.count, BATCH_ROWS):
            rows = range(start, min(start + BATCH_ROWS, base.count))
            yield Batch(
                self._ids([base.external_id(row) for row in rows]),
                base.vectors(rows.start, rows.stop) if vectors else nothing,
                [base.payload(row) for row in rows] if vectors else None,
            )

    def _ids(self, ids: list[str]) -> list[str] | list[int]:
        return [int(id_) for id_ in ids] if self._integers else ids


def fold(base: Generation | VectorsFolder, folder: Path, since: FoldedTo) -> Folded | None:
    """The base with all changes that the log of an index's folder holds now; None where there is no log.

    since: what the base holds already. Raises GenerationError where the base belongs to another log, or the log no
    longer has a change that the base lacks.
    """
    try:
        reader = LogReader(folder)
    except FileNotFoundError:
        return None
    with reader:
        if since.log not in (0, reader.head.id):
            raise GenerationError(reader.path, "is not the log that this generation was built from")
        found: list[Change] = []
        seq = since.seq
        model = _model(base)
        if (reader.head.dim, reader.head.model) != (base.dim, model) and reader.since(seq, most=1):
            raise InputError(
                f"the changes hold vectors of model {reader.head.model} with {reader.head.dim} dimensions, and these "
                f"rows are of {model} with {base.dim}; fold the changes first (`perwatt build --from-changes`)"
            )
        while some := reader.since(seq):
            found += some
            seq = some[-1].seq
        return Folded(base, found, FoldedTo(reader.head.id, seq))


def check_kept(folder: Path, upto: FoldedTo) -> None:
    """Raises InputError where the log of an index's folder has forgotten changes that a generation up to `upto` lacks:
    others were built and cleaned up while it was built, and it could never be served."""
    with LogReader(folder) as reader:
        if reader.head.first > upto.seq + 1:
            raise InputError(
                f"changes {upto.seq + 1:,} to {reader.head.first - 1:,} were built into another generation meanwhile "
                "and left the log, and this one lacks them; build again"
            )


def _model(base: Generation | VectorsFolder) -> str | None:
    model = base.manifest["model"] if isinstance(base, Generation) else base.model
    return None if model is None else str(model["id"])


def _picked(ids: list[Any], rows: list[int]) -> list[Any]:
    return [ids[row] for row in rows]


def _canaries(base: Generation | VectorsFolder) -> list[dict[str, Any]]:
    return base.manifest["canaries"] if isinstance(base, Generation) else base.canaries
