"""Indexes to back up, what they answer, and processes that die while they push or pull."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import numpy as np
from changing import DIM, Documents
from warm import shared

import index
from index.backup import pieces
from index.backup.contents import backups, read_backup
from index.backup.store import FolderStore
from index.changes.delta import Delta
from index.changes.fold import folded_to
from index.changes.log import Log
from index.changes.log_reader import changes
from index.changes.view import View
from index.disk.root import Root

PIECE = 4096  # bytes, so that a small index has many

# push or pull with a store that ends the process at its n-th put, or get: push|pull ROOT STORE N
DYING = f"""
import os, signal, sys
from pathlib import Path
from index.backup import pieces, push, pull
from index.backup.store import FolderStore
from index.disk.root import Root
pieces.PIECE_BYTES = push.PIECE_BYTES = {PIECE}
pieces.AT_ONCE = 1
what, root, store, n = sys.argv[1:]
class Dying(FolderStore):
    done = 0
    def _count(self):
        self.done += 1
        if self.done == int(n):
            os.kill(os.getpid(), signal.SIGKILL)
    def put(self, name, content):
        if what == "push":
            self._count()
        super().put(name, content)
    def get(self, name, most):
        if what == "pull":
            self._count()
        return super().get(name, most)
done = getattr(sys.modules[f"index.backup.{{what}}"], what)(Root(Path(root)), "docs", Dying(Path(store)))
print(done.sent if what == "push" else done.fetched)
"""


def run_dying(what: str, root: Path, store: Path, at: int) -> subprocess.CompletedProcess[str]:
    process = shared().start([what, str(root), str(store), str(at)], program=DYING)
    said, errors = process.communicate()
    return subprocess.CompletedProcess([what], process.wait(), said, errors)


def small_pieces(monkeypatch: Any) -> None:
    from index.backup import push

    monkeypatch.setattr(pieces, "PIECE_BYTES", PIECE)
    monkeypatch.setattr(push, "PIECE_BYTES", PIECE)


def made(root: Path, count: int = 60) -> Documents:
    """An index `docs` of `count` documents, with puts and deletes since it was built."""
    documents = Documents(count)
    documents.build(root)
    with Log(root / "docs", DIM, None) as log:
        log.append([documents.put(number, 1000 + number) for number in range(count - 5, count + 10)])
        log.append([documents.delete(number) for number in range(8)])
    return documents


def answers(root: Path, name: str = "docs") -> dict[str, Any]:
    """What the served generation answers with its changes, to the last bit: hits by vector, words and filter."""
    path = Root(root).path(name)
    with index.open_generation(path) as generation:
        delta = Delta(generation, folded_to(generation.manifest).seq)
        delta.apply(changes(path.parent, delta.seq))
        view = View(generation, delta.snapshot())
        queries = np.random.default_rng(4).standard_normal((5, generation.dim)).astype(np.float32)
        some = view.survivors(index.search.filtering.parse({"field": "lang", "eq": "en"}))
        said: dict[str, Any] = {"generation": generation.id, "count": view.count, "seq": view.seq}
        for what, keep in (("vectors", None), ("filtered", some)):
            found = view.search_rows(queries, 7, keep=keep)
            said[what] = [_hits(view, *each) for each in zip(found.rows, found.scores, strict=True)]
        said["words"] = [_hits(view, *view.search_words(text, 7)) for text in ("alpha gamma", "nu mu", "sigma")]
        said["payloads"] = [view.payload(row).decode() for row in found.rows[0] if row >= 0]
    return said


def _hits(view: View, rows: Any, scores: Any) -> list[tuple[str, str]]:
    return [
        (view.external_id(int(row)), float(score).hex()) for row, score in zip(rows, scores, strict=True) if row >= 0
    ]


def pieces_in(store: Path) -> dict[Path, int]:
    """The pieces in a folder of backups, with their bytes."""
    return {path: path.stat().st_size for path in store.rglob("*") if path.is_file() and path.suffix != ".json"}


def newest(store: Path) -> Any:
    place = FolderStore(store)
    return read_backup(place, "docs", backups(place, "docs")[-1])
