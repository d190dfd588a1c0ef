"""A generation and the changes since, searched as one.

Rows of the generation keep their numbers; rows of the delta follow after them, so row `count + r` is the delta's row r.
Every search asks both and merges: the generation as ever, but for the rows that are gone, which are taken out of the
filter that each search has anyway; the delta exactly, or through a sieve where the generation is not searched exactly
either. So min(k, survivors) hits come back, ties by id, and a document that was written before the view was made is
found like any other.

A view does not change; for later changes, ask for a later view.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from index.changes import sieve
from index.changes.delta import DeltaSnapshot
from index.search.bitmap import Bitmap, Kept
from index.search.exact import TopK
from index.search.filtering import KEPT_BYTES, Filter, Filters, parse
from index.search.finding import Effort
from index.search.generation import Generation
from index.search.lexical.words import Matched
from index.shards.merge import Ranked, merge, merge_top

# Of up to so many rows that tie, ids decide which are found; of more, those that were written first are.
MOST_TIED = 4096


@dataclass(frozen=True)
class Surviving:
    """Rows of a view that may be hits. base: of the generation, None for all of it; delta: of the changes."""

    base: Bitmap | None
    delta: Bitmap
    rows_of_base: int

    @cached_property
    def count(self) -> int:
        return (self.rows_of_base if self.base is None else self.base.count) + self.delta.count

    @property
    def nbytes(self) -> int:
        return (0 if self.base is None else self.base.nbytes) + self.delta.nbytes

    def holds(self, row: int) -> bool:
        if row >= self.rows_of_base:
            return self.delta.holds(row - self.rows_of_base)
        return self.base is None or self.base.holds(row)

    def without(self, rows: NDArray[Any]) -> "Surviving":
        """The same but for `rows`, which may repeat."""
        below = rows < self.rows_of_base
        base = self.base
        if below.any():
            everything = Bitmap(np.ones(self.rows_of_base, np.bool_), self.rows_of_base)
            base = (base or everything).without(rows[below])
        delta = self.delta.without(rows[~below] - self.rows_of_base) if not below.all() else self.delta
        return Surviving(base, delta, self.rows_of_base)


class Searchable(Protocol):
    """What a generation and a view of one with its changes have in common. `keep` is what its own `survivors` gave."""

    @property
    def count(self) -> int: ...
    @property
    def rows(self) -> int: ...
    def search_rows(
        self, queries: NDArray[np.float32], k: int, effort: Effort | None = None, exact: bool = False, keep: Any = None
    ) -> TopK: ...
    def search_words(
        self,
        text: str,
        k: int,
        filter_: Filter | None = None,
        exact: bool = False,
        held: Mapping[str, int] | None = None,
    ) -> Matched: ...
    def search_sparse(self, text: str, k: int, keep: Any = None) -> Matched: ...
    def unweighed(self, keep: Any = None) -> int: ...
    def new_words(self, text: str) -> dict[str, int]: ...
    def compares_all(self, k: int, effort: Effort | None = None, keep: Any = None) -> bool: ...
    def survivors(self, filter_: Filter) -> Bitmap | Surviving: ...
    def without(self, keep: Any, rows: NDArray[np.int64]) -> Bitmap | Surviving: ...
    def only(self, rows: NDArray[np.int64]) -> Bitmap | Surviving: ...
    def parts(self, keep: Any) -> list[tuple[Filters, Bitmap | None]]: ...
    def rows_with(self, name: str, values: Sequence[Any]) -> NDArray[np.int64]: ...
    def sample(self, wanted: int, seed: int) -> NDArray[np.int64]: ...
    def as_of(self, rows: int) -> "Searchable": ...
    def order(self, row: int) -> Any: ...
    def payload(self, row: int) -> bytes: ...
    def external_id(self, row: int) -> str: ...
    def row_of(self, id_: str) -> int | None: ...
    def vector(self, row: int) -> NDArray[np.float32]: ...
    def value(self, name: str, row: int) -> Any: ...


class View:
    """Searches a generation with its changes. Safe to use from several threads, like the generation.

    count: documents that there are. seq: the last change that it knows.
    """

    def __init__(self, generation: Generation, snapshot: DeltaSnapshot) -> None:
        self.generation, self.seq = generation, snapshot.seq
        self._snapshot = snapshot
        self._base = generation.count
        self.alive = Surviving(snapshot.kept, snapshot.live, generation.count)
        self.count = self.alive.count
        self._places: dict[int, Any] = snapshot.places
        self._survivors: Kept[Surviving] = Kept(KEPT_BYTES)  # by the keys of their filters

    @property
    def rows(self) -> int:
        """One more than the largest row."""
        return self._base + len(self._snapshot.vectors)

    def search_rows(
        self,
        queries: NDArray[np.float32],
        k: int,
        effort: Effort | None = None,
        exact: bool = False,
        keep: Surviving | None = None,
    ) -> TopK:
        """As `Generation.search_rows`, over both; `keep` as `filter` gives it."""
        queries, survivors = self.generation.checked(queries), keep or self.alive
        found = self.generation.search_checked(queries, k, effort, exact, survivors.base)
        if survivors.delta.count == 0:
            return found
        everything = exact or self.compares_all(k, effort, survivors)
        self._merge_changed(found, queries, survivors.delta, k + 1, everything)
        return found

    def _merge_changed(self, found: TopK, queries: NDArray[np.float32], keep: Bitmap, reach: int, exact: bool) -> None:
        """Puts the changes of `keep` that are better into `found`. Rows are in the order of writing, and ids decide
        between equal scores: of a query whose k-th scores as the last of `reach` does, more are looked at."""
        snapshot, k = self._snapshot, found.rows.shape[1]
        most = min(k + MOST_TIED, keep.count)
        reach, least = min(reach, most), found.scores[:, -1].copy()
        if snapshot.sieve is None or exact:
            changed = snapshot.search(queries, reach, self._metric, keep)
        else:
            changed = sieve.search(snapshot.sieve, queries, reach, least, keep.words)
        if reach < most:
            last = changed.scores[:, -1]
            tied = (changed.rows[:, -1] >= 0) & (last >= least) & (last == changed.scores[:, k - 1])
            for query in np.flatnonzero(tied).tolist():
                only = slice(query, query + 1)
                mine = TopK(found.rows[only], found.scores[only], found.scored[only])
                self._merge_changed(mine, queries[only], keep, most, exact)
                changed.rows[only], changed.scored[only] = -1, 0
        merge_top(found, changed, self._base, self.order)
        found.scored[:] += changed.scored

    def compares_all(self, k: int, effort: Effort | None = None, keep: Surviving | None = None) -> bool:
        """As `Generation.compares_all`, over both."""
        return self.generation.compares_all(k, effort, (keep or self.alive).base)

    def search_words(
        self,
        text: str,
        k: int,
        filter_: Filter | None = None,
        exact: bool = False,
        held: Mapping[str, int] | None = None,
    ) -> Matched:
        """As `Generation.search_words`, over both.

        Args:
            held: of the text's words that no generation holds, by how many changes of all shards each is held.
        """
        keep = self.alive if filter_ is None else self.survivors(filter_)
        found = self._words_of_generation(text, k, filter_, exact)
        if keep.delta.count == 0:
            return found
        assert self.generation.lexical is not None  # the generation's own search saw to it
        changed = self._snapshot.search_words(self.generation.lexical.words(text), k, keep.delta, held)
        return self._merged(found, changed, k)

    def search_sparse(self, text: str, k: int, keep: Surviving | None = None) -> Matched:
        """As `Generation.search_sparse`, over both: of what was written since, the rows that were weighed then."""
        survivors = keep or self.alive
        found = self.generation.search_sparse(text, k, survivors.base)
        if survivors.delta.count == 0 or self.generation.sparse is None:
            return found
        return self._merged(found, self._snapshot.search_sparse(self.generation.sparse, text, k, survivors.delta), k)

    def unweighed(self, keep: Surviving | None = None) -> int:
        """Of the rows that `keep` lets through, those that have no sparse weights yet."""
        return self._snapshot.unweighed((keep or self.alive).delta)

    def new_words(self, text: str) -> dict[str, int]:
        """Of the words of a text that no document of the generation holds, by how many changes each is held."""
        lexical, changed = self.generation.lexical, self._snapshot.words
        if lexical is None or changed is None:
            return {}
        return changed.new(lexical.words(text), self._snapshot.live)

    def filter(self, given: Mapping[str, Any]) -> Surviving:
        """As `Generation.filter`, over both, without what is gone."""
        return self.survivors(parse(given))

    def survivors(self, filter_: Filter) -> Surviving:
        """As `filter`, of a parsed one."""
        known = self._survivors.get(filter_.key)
        if known is None:
            known = self._kept(filter_)
            self._survivors.put(filter_.key, known)
        return known

    def _kept(self, filter_: Filter) -> Surviving:
        base = self.generation.filters.bitmap(filter_)
        if self._snapshot.kept is not None:
            base = base & self._snapshot.kept
        count = len(self._snapshot.vectors)
        delta = Bitmap(self._snapshot.columns.bits(filter_), count) & self._snapshot.live
        return Surviving(base, delta, self._base)

    def as_of(self, rows: int) -> "View":
        """This view without the documents that were put after an earlier one had so many `rows`. What was deleted or
        replaced since stays away."""
        if rows >= self.rows:
            return self
        alive = self._snapshot.live.words.copy()
        count = len(self._snapshot.vectors)
        first = np.unpackbits(alive.view(np.uint8), bitorder="little")[:count].astype(np.bool_)
        first[max(0, rows - self._base) :] = False
        return View(self.generation, self._snapshot._replace(live=Bitmap(first, count)))

    def rows_with(self, name: str, values: Sequence[Any]) -> NDArray[np.int64]:
        """As `Generation.rows_with`, over both; also of rows that are gone."""
        count = len(self._snapshot.vectors)
        changed = Bitmap(self._snapshot.columns.one_of(name, values), count).rows + self._base
        return np.concatenate([self.generation.rows_with(name, values), changed])

    def without(self, keep: Surviving | None, rows: NDArray[np.int64]) -> Surviving:
        return (keep or self.alive).without(rows)

    def only(self, rows: NDArray[np.int64]) -> Surviving:
        """As `Generation.only`, over both."""
        base, delta = np.zeros(self._base, np.bool_), np.zeros(len(self._snapshot.vectors), np.bool_)
        base[rows[rows < self._base]] = True
        delta[rows[rows >= self._base] - self._base] = True
        return Surviving(Bitmap(base, len(base)), Bitmap(delta, len(delta)), self._base)

    def parts(self, keep: Surviving | None) -> list[tuple[Filters, Bitmap | None]]:
        """As `Generation.parts`, over both, without what is gone."""
        keep = keep or self.alive
        return [(self.generation.filters, keep.base), *self._snapshot.columns.kept(keep.delta)]

    def sample(self, wanted: int, seed: int) -> NDArray[np.int64]:
        """As `Generation.sample`, of the rows that are not gone."""
        base = np.arange(self._base) if self.alive.base is None else self.alive.base.rows
        rows = np.concatenate([base, self.alive.delta.rows + self._base])
        return np.sort(np.random.default_rng(seed).choice(rows, min(wanted, len(rows)), replace=False))

    def order(self, row: int) -> Any:
        """What rows are sorted by where their scores are equal: the order of ids, over both."""
        if row < self._base:
            return row, 1, b""
        place = self._places.get(row)
        if place is None:
            id_ = self.external_id(row)
            key = id_.encode() if self.generation.manifest["id_type"] == "str" else int(id_)
            place = self._places[row] = (self.generation.place_of(id_), 0, key)
        return place

    def payload(self, row: int) -> bytes:
        return self.generation.payload(row) if row < self._base else self._snapshot.payloads[row - self._base]

    def external_id(self, row: int) -> str:
        return self.generation.external_id(row) if row < self._base else self._snapshot.ids[row - self._base]

    def row_of(self, id_: str) -> int | None:
        """The row of a document, or None where there is none or it was deleted."""
        row = self._rows_by_id.get(id_)
        if row is not None:
            return self._base + row
        row = self.generation.row_of(id_)
        return row if row is not None and self.alive.holds(row) else None

    def vector(self, row: int) -> NDArray[np.float32]:
        if row < self._base:
            return self.generation.vector(row)
        return np.array(self._snapshot.vectors[row - self._base])

    def value(self, name: str, row: int) -> Any:
        """What a declared field holds in a row, as `Type.read` gives it; None for no value."""
        if row >= self._base:
            return self._snapshot.columns.value(name, row - self._base)
        return self.generation.filters.column(name).value(row)

    @property
    def _metric(self) -> Any:
        return "l2" if self.generation.metric == "l2" else "ip"  # cosine rows and queries are of length 1 by now

    @cached_property
    def _rows_by_id(self) -> dict[str, int]:
        ids, live = self._snapshot.ids, self._snapshot.live
        return {ids[row]: row for row in live.rows.tolist()}

    def _merged(self, found: Matched, changed: Ranked, k: int) -> Matched:
        return Matched(*merge((Ranked(*found), Ranked(changed.rows + self._base, changed.scores)), k, self.order))

    def _words_of_generation(self, text: str, k: int, filter_: Filter | None, exact: bool) -> Matched:
        """The best k that are not gone. Words know nothing of what is gone, so more are asked for until there are k."""
        kept, asked = self._snapshot.kept, k
        if kept is not None:
            asked += min(k, self._base - kept.count)
        while True:
            found = self.generation.search_words(text, asked, filter_, exact)
            if kept is None:
                return found
            there = kept.held(found.rows)
            if there.sum() >= k or len(found.rows) < asked or asked >= self._base:
                return Matched(found.rows[there][:k], found.scores[there][:k])
            asked *= 4
