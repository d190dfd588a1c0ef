"""Writes the sparse weights of a generation's rows; the model that makes them is handed in, since none is known here.

What becomes of them is up to `index/search/sparse/`.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from index.disk.manifest import SPARSE
from index.kernels import _native
from index.progress import Progress
from index.search import rowfiles
from index.search.lexical.text import texts_of
from index.search.rowfiles import Arranged
from index.search.sparse.section import FOLDER, MOST_WEIGHT, QUERY_STEP, TOKENIZER_FILE, SparseArrays, write_arrays

_TEXTS_A_STEP = 64  # what the network gives of each token of these is in memory at once


# Of some texts: tokens uint32 (n,) of one after the other, each of a text once; impacts uint8 (n,) from 1 on, in the
# model's steps; ends int64 (texts,): where the tokens of each end.
Impacts = tuple[NDArray[np.uint32], NDArray[np.uint8], NDArray[np.int64]]


class SparseModel(Protocol):
    """A masked-language model that weighs documents, and the table by which it weighs queries."""

    @property
    def given(self) -> str:
        """Its folder or name, by which a rebuild finds it again."""

    @property
    def described(self) -> dict[str, Any]:
        """What the manifest says of it; "step" is what an impact of 1 weighs, a power of two."""

    @property
    def table(self) -> NDArray[np.float32]:
        """What each token of a query weighs, float32 (tokens,)."""

    @property
    def tokenizer(self) -> str:
        """Of queries, as JSON."""

    def impacts(self, documents: Sequence[tuple[str, str]]) -> Impacts:
        """Of documents, each a title and a text, "" for what it lacks. Tokens that weigh nothing in a query may be
        left out."""


def write_sparse(folder: Path, arranged: Arranged, model: SparseModel, *, show: bool) -> dict[str, Any]:
    """Returns the manifest's entry on it. Rows without title and text hold no token."""
    (folder / FOLDER).mkdir()
    # What begins with .spool is no part of a generation, and removed in time.
    with _Spooled(folder / ".spool-sparse-tokens") as tokens, _Spooled(folder / ".spool-sparse-impacts") as impacts:
        ends, held = [np.zeros(0, np.int64)], 0
        with Progress("sparse", len(arranged.ids), show=show) as progress:
            for batch in _batches(arranged):
                their_tokens, their_impacts, their_ends = model.impacts(batch)
                tokens.add(their_tokens)
                impacts.add(their_impacts)
                ends.append(their_ends + held)
                held += len(their_tokens)
                progress.add(len(batch))
        table = np.rint(np.maximum(model.table, 0) / QUERY_STEP).clip(0, MOST_WEIGHT).astype(np.uint16)
        arrays = _inverted(tokens.read(np.uint32), impacts.read(np.uint8), np.concatenate(ends), table)
    sizes = write_arrays(folder, arrays)
    (folder / FOLDER / TOKENIZER_FILE).write_text(model.tokenizer, encoding="utf-8")
    return {SPARSE: {"from": model.given, "model": model.described, "sizes": sizes}}


def _inverted(
    tokens: NDArray[np.uint32], impacts: NDArray[np.uint8], ends: NDArray[np.int64], table: NDArray[np.uint16]
) -> SparseArrays:
    terms = np.zeros((len(table) + 1, 2), np.uint64)
    _native.count_impacts(tokens, ends, terms)
    entries, postings = np.empty(int(terms[-1, 0]), np.uint64), np.empty(int(terms[-1, 1]), np.uint16)
    _native.fill_impacts(tokens, impacts, ends, terms, entries, postings)
    return SparseArrays(terms, entries, postings, table)


def _batches(arranged: Arranged) -> Iterator[list[tuple[str, str]]]:
    for batch in rowfiles.payload_batches(arranged):
        texts = [texts_of(payload) for payload in batch.payload]
        yield from (texts[start : start + _TEXTS_A_STEP] for start in range(0, len(texts), _TEXTS_A_STEP))


class _Spooled:
    """Numbers in a file while it is not known how many there will be."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> "_Spooled":
        self._file = self._path.open("wb")
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, numbers: NDArray[Any]) -> None:
        self._file.write(np.ascontiguousarray(numbers).data)

    def read(self, kind: Any) -> NDArray[Any]:
        self._file.flush()
        size = self._path.stat().st_size
        return np.memmap(self._path, kind, "r") if size else np.zeros(0, kind)
