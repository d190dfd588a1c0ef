"""Sparse weights of documents that were weighed before, for a generation or when they were written: a rebuild weighs
only what is new.

A document is known by its title and text. Those that were weighed by the same model keep what they have, which is what
it would give them again. So a document may have another id or lie in another shard.
"""

from collections.abc import Sequence
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from index.build.rows.sparse import Impacts, SparseModel
from index.changes.impacts import unpacked
from index.changes.log_reader import LogReader
from index.disk.manifest import SPARSE, read_manifest
from index.errors import GenerationError, InputError, NotFoundError
from index.search.lexical.text import texts_of
from index.search.opening import open_generation


class RememberedSparse:
    """
    Args:
        model: what weighs the others.
        paths: folders of generations, each with the log of its index beside it; what has no weights by this model is
            passed over.
    """

    def __init__(self, model: SparseModel, paths: Sequence[Path], threads: int) -> None:
        self._model = model
        self.given, self.described, self.table, self.tokenizer = (
            model.given,
            model.described,
            model.table,
            model.tokenizer,
        )
        self._rows: list[Impacts] = []
        self._known: dict[bytes, tuple[int, int]] = {}  # which of `_rows`, and the row
        for path in paths:
            with suppress(GenerationError, InputError, NotFoundError):
                self._remember(path, threads)
            with suppress(GenerationError, FileNotFoundError):
                self._remember_changes(path.parent)

    def impacts(self, documents: Sequence[tuple[str, str]]) -> Impacts:
        places = [self._known.get(_key(*document)) for document in documents]
        new = [document for document, place in zip(documents, places, strict=True) if place is None]
        fresh = iter(_each(self._model.impacts(new)))
        found = [next(fresh) if place is None else self._at(*place) for place in places]
        return (
            np.concatenate([np.zeros(0, np.uint32), *(tokens for tokens, _ in found)]),
            np.concatenate([np.zeros(0, np.uint8), *(impacts for _, impacts in found)]),
            np.cumsum([len(tokens) for tokens, _ in found], dtype=np.int64),
        )

    def _remember(self, path: Path, threads: int) -> None:
        if read_manifest(path).get(SPARSE, {}).get("model", {}).get("id") != self.described["id"]:
            return
        with open_generation(path, threads) as before:
            assert before.sparse is not None  # as its manifest says
            self._rows.append(before.sparse.by_rows())
            for row in range(before.count):
                self._known[_key(*texts_of(before.payload(row)))] = len(self._rows) - 1, row

    def _remember_changes(self, folder: Path) -> None:
        with LogReader(folder) as log:
            seq = log.head.first - 1
            while some := log.since(seq):
                seq = some[-1].seq
                for change in some:
                    posted = unpacked(self.described["id"], change.weights)
                    if posted is not None:
                        self._known[_key(*texts_of(change.payload or b"{}"))] = len(self._rows), 0
                        self._rows.append((*posted, np.array([len(posted[0])])))

    def _at(self, which: int, row: int) -> tuple[NDArray[Any], NDArray[Any]]:
        tokens, impacts, ends = self._rows[which]
        part = slice(int(ends[row - 1]) if row else 0, int(ends[row]))
        return tokens[part], impacts[part]


def _each(found: Impacts) -> list[tuple[NDArray[Any], NDArray[Any]]]:
    tokens, impacts, ends = found
    return list(zip(np.split(tokens, ends[:-1]), np.split(impacts, ends[:-1]), strict=True)) if len(ends) else []


def _key(title: str, text: str) -> bytes:
    state = blake2b(title.encode(errors="surrogatepass"), digest_size=16)
    state.update(b"\0" + text.encode(errors="surrogatepass"))
    return state.digest()
