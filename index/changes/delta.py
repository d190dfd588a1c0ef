"""The changes in memory: what was put since the generation, and what of the generation is gone.

Rows come at the end, in the order of their seq, and stay where they are. A put makes the row before it of the same id,
here or in the generation, a dead one; a delete does only that. A snapshot is what a search uses: it does not change
while changes go on being applied, and making one costs a copy of two bitmaps.

Vectors are compared by int8 codes under the generation's own scale and rescored as float32, like every exact search, so
a row scores the same here and in the next generation. Which rows are compared at all is up to the search: every one, or
where the generation is not searched exactly either, those that a sieve lets through (sieve.py).
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from index.changes import sieve
from index.changes.columns import ChangedColumns, ColumnsSnapshot
from index.changes.impacts import ChangedImpacts
from index.changes.log_file import Change
from index.changes.words import ChangedWords
from index.disk.codes import Codes, Metric, code_stride, quantise_rows, unit_rows
from index.errors import GenerationError
from index.kernels import _native
from index.search import exact
from index.search.bitmap import Bitmap
from index.search.exact import TopK
from index.search.generation import Generation
from index.search.lexical.text import text_of
from index.search.sparse.searching import SparseIndex
from index.shards.merge import Ranked
from index.weights.formula import Statistics

_FIRST_ROWS = 1024  # room for so many, doubled whenever it is full
_HEADROOM = 1.25  # codes are made anew when a vector goes so far beyond their scale


class DeltaSnapshot(NamedTuple):
    """What was applied up to `seq`. live: rows of the delta that may be found. kept: rows of the generation that were
    neither replaced nor deleted, None for all of them."""

    seq: int
    vectors: NDArray[np.float32]
    codes: Codes
    live: Bitmap
    kept: Bitmap | None
    columns: ColumnsSnapshot
    ids: list[str]
    payloads: list[bytes]
    words: ChangedWords | None
    impacts: ChangedImpacts | None  # None where the generation has no sparse weights
    places: dict[int, Any]  # of rows in the order of ids, as far as they were asked for
    sieve: _native.Sieve | None  # None where every search is exact

    def search(self, queries: NDArray[np.float32], k: int, metric: Metric, keep: Bitmap) -> TopK:
        """The best k of the rows that `keep` has; rows of the delta, −1 where there are fewer."""
        found = exact.scan(queries, self.vectors, k, self.codes, 1, l2=metric == "l2", keep=keep.words)
        found.scored[:] = keep.count
        return found

    def search_words(
        self, words: Mapping[str, int], k: int, keep: Bitmap, held: Mapping[str, int] | None = None
    ) -> Ranked:
        if self.words is None or not words:
            return Ranked(np.zeros(0, np.int64), np.zeros(0, np.float32))
        return _best(self.words.scores(words, self.live, held), k, keep)

    def search_sparse(self, sparse: SparseIndex, text: str, k: int, keep: Bitmap) -> Ranked:
        """By the sparse weights, of the rows that have some. sparse: of the generation."""
        assert self.impacts is not None  # as the generation has them
        return _best(sparse.scored(self.impacts.sums(sparse.query(text), len(self.vectors))), k, keep)

    def unweighed(self, keep: Bitmap) -> int:
        """Of the rows that `keep` has, those without sparse weights."""
        return keep.count if self.impacts is None else keep.count - (keep & self.impacts.weighed(keep.size)).count


class Delta:
    """Applies changes. One thread at a time; snapshots may be used by any."""

    def __init__(self, generation: Generation, folded: int) -> None:
        """folded: the last change that the generation holds already."""
        self.generation, self.seq = generation, folded
        self.rows: dict[str, int] = {}  # live rows of the delta by id
        self.gone = 0  # rows of the generation
        self._ids: list[str] = []
        self._payloads: list[bytes] = []
        self._vectors = np.empty((_FIRST_ROWS, generation.dim), np.float32)
        self._codes = _zeros(_FIRST_ROWS, generation.dim)
        self._norms = np.empty(_FIRST_ROWS, np.float32)
        self._step = generation.code_step
        self._error_norm = self._row_norm = 0.0
        self._live = np.zeros(_FIRST_ROWS, np.bool_)
        self._kept = np.full(-(-generation.count // 8), 255, np.uint8)
        self._columns = ChangedColumns(generation.manifest["filterable"])
        self._words: ChangedWords | None = None
        if generation.lexical is not None:
            self._words = ChangedWords(generation.lexical.analyse, _statistics(generation))
        self._impacts = None if generation.sparse is None else ChangedImpacts(generation.sparse.model["id"])
        self._places: dict[int, Any] = {}
        self._signs = sieve.Signs(generation, _FIRST_ROWS) if sieve.sifts(generation) else None
        self._snapshot: DeltaSnapshot | None = None

    @property
    def count(self) -> int:
        """Rows that were put, dead ones included: what a search has to look at."""
        return len(self._ids)

    @property
    def unweighed(self) -> int:
        """Live rows without sparse weights, where the generation has them."""
        if self._impacts is None:
            return 0
        snapshot = self.snapshot()
        return snapshot.unweighed(snapshot.live)

    @property
    def misfits(self) -> Mapping[str, int]:
        return {"values": self._columns.misfits}

    def apply(self, changes: Iterable[Change]) -> None:
        """Raises GenerationError for a change that does not fit the generation; those before it were applied."""
        puts: list[Change] = []
        for change in changes:
            if change.seq <= self.seq:
                continue
            self._bury(change.id)
            if change.vector is not None:
                self._check(change)
                self.rows[change.id] = len(self._ids)
                self._ids.append(change.id)
                payload = change.payload or b"{}"
                self._payloads.append(payload)
                self._columns.add(payload)
                if self._words is not None:
                    self._words.add(text_of(payload))
                if self._impacts is not None:
                    self._impacts.add(change.weights)
                puts.append(change)
            self.seq = change.seq
        if puts:
            raw = b"".join(change.vector or b"" for change in puts)
            self._append(np.frombuffer(raw, "<f4").reshape(len(puts), -1).astype(np.float32))
            start = len(self._ids) - len(puts)
            for row in range(start, len(self._ids)):
                self._live[row] = self.rows.get(self._ids[row]) == row
        self._snapshot = None

    def snapshot(self) -> DeltaSnapshot:
        if self._snapshot is None:
            count, generation = len(self._ids), self.generation
            kept = Bitmap(self._kept, generation.count) if self.gone else None
            norms = self._norms[:count] if generation.metric == "l2" else self._norms[:0]
            codes = Codes(self._codes[:count, : generation.dim], self._step, self._error_norm, self._row_norm, norms)
            live = Bitmap(self._live[:count].copy(), count)
            vectors = self._vectors[:count]
            self._snapshot = DeltaSnapshot(
                self.seq,
                vectors,
                codes,
                live,
                kept,
                self._columns.snapshot(),
                self._ids,
                self._payloads,
                self._words,
                self._impacts,
                self._places,
                None if self._signs is None else self._signs.over(vectors, codes),
            )
        return self._snapshot

    def _check(self, change: Change) -> None:
        assert change.vector is not None
        if len(change.vector) != 4 * self.generation.dim:
            raise GenerationError(
                self.generation.path,
                f"has {self.generation.dim} dimensions, and change {change.seq} {len(change.vector) // 4}",
            )

    def _bury(self, id_: str) -> None:
        row = self.rows.pop(id_, None)
        if row is not None:
            if row < len(self._live):
                self._live[row] = False
            return
        there = self.generation.row_of(id_)
        if there is not None and self._kept[there >> 3] >> (there & 7) & 1:
            self._kept[there >> 3] &= ~(1 << (there & 7)) & 255
            self.gone += 1

    def _append(self, vectors: NDArray[np.float32]) -> None:
        count = len(self._ids)
        start = count - len(vectors)
        if self.generation.metric == "cosine":
            vectors = unit_rows(vectors)
        if count > len(self._vectors):
            self._grow(max(count, 2 * len(self._vectors)), start)
        self._vectors[start:count] = vectors
        largest = float(np.abs(vectors).max(initial=0.0))
        if largest > _HEADROOM * 127 * self._step:
            self._step, self._error_norm, self._row_norm = largest / 127, 0.0, 0.0
            self._codes = _zeros(len(self._vectors), self.generation.dim)  # snapshots go on with the old ones
            start, vectors = 0, self._vectors[:count]
        codes, error, lengths = quantise_rows(vectors, self._step)
        self._codes[start:count, : self.generation.dim] = codes
        self._error_norm = max(self._error_norm, error)
        self._row_norm = max(self._row_norm, float(lengths.max(initial=0.0)))
        self._norms[start:count] = lengths**2
        if self._signs is not None:
            self._signs.extend(self._vectors[:count])

    def _grow(self, room: int, start: int) -> None:
        vectors, codes = np.empty((room, self.generation.dim), np.float32), _zeros(room, self.generation.dim)
        norms, live = np.empty(room, np.float32), np.zeros(room, np.bool_)
        vectors[:start], codes[:start], norms[:start] = self._vectors[:start], self._codes[:start], self._norms[:start]
        live[:start] = self._live[:start]
        if self._signs is not None:
            self._signs.grow(room)
        self._vectors, self._codes, self._norms, self._live = vectors, codes, norms, live


def _best(scores: NDArray[np.float32], k: int, keep: Bitmap) -> Ranked:
    """The best k of the rows that score above 0 and that `keep` has, with all of a tie at the end: ids decide, in the
    merge."""
    rows = np.flatnonzero(scores)
    rows = rows[keep.held(rows)]
    if len(rows) > k:
        least = np.partition(scores[rows], len(rows) - k)[len(rows) - k]
        rows = rows[scores[rows] >= least]
    return Ranked(rows, scores[rows])


def _zeros(rows: int, dim: int) -> NDArray[np.int8]:
    return np.zeros((rows, code_stride(dim)), np.int8)


def _statistics(generation: Generation) -> Statistics:
    lexical = generation.lexical
    assert lexical is not None
    for row in range(generation.count):
        found = lexical.statistics(text_of(generation.payload(row)))
        if found.mean_length:
            return found
    return lexical.statistics("")
