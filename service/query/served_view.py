"""What one request searches: a served generation with the changes that were applied when the request began.

A request may search several times and filter in between. It does all of that on one view, whatever is written
meanwhile. A short search runs on the event loop itself, a long one in the one search thread (`served_generation.py` has
the times).
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import msgspec
import numpy as np
from msgspec import Raw

from index import Generation, InputError
from index.changes.view import Searchable, Surviving
from index.search.bitmap import Bitmap
from index.search.filtering import And, Filter, Not, OneOf
from index.search.finding import Effort
from service.access.caller import Caller
from service.query.admission import Deadline
from service.query.highlight import WordsIn, fragments_of, unstemmed
from service.query.pace import Pace, SearchedHere
from service.query.searched import AllSearched, Marked, Matching, Vectors
from service.wire import filters
from service.wire.problems import Problem
from service.wire.request.search import Highlight, SearchRequest

if TYPE_CHECKING:
    from embed.encoders.fitted.encoder import FittedEncoder

# A worker has one core, so a search in another thread takes its turns from the loop anyway, and pays 20 to 60 µs of
# processor time for the hop and back. Up to this length the loop does it itself: 2 ms is a delay nobody else notices.
INLINE_S = 2e-3
# A filter that was not asked before reads columns: up to this many rows that, too, is done within 2 ms.
INLINE_FILTER_ROWS = 500_000
INLINE_FILTER_BYTES = 8192  # of its JSON: each of a thousand values is looked up in some microseconds
# Rows of which a column is read and its values are counted within 2 ms.
INLINE_COLUMN_ROWS = 100_000

SAMPLE_SEED = 41
T = TypeVar("T")
Survived = Bitmap | Surviving
_OBJECT = msgspec.json.Decoder(dict[str, Raw])


class InThread(Protocol):
    """Runs `work` in the search thread; raises Problem when the deadline passes before it is done."""

    def __call__(self, deadline: Deadline, work: Callable[..., T], *arguments: Any) -> Awaitable[T]: ...


class ServedView:
    """
    Args:
        rows: what is searched, a generation or a view of one with its changes.
        seq: the last change in it.
        fitted: what encodes texts before the model is asked; None: nothing does.
    """

    def __init__(
        self,
        generation: Generation,
        rows: Searchable,
        seq: int,
        pace: Pace,
        in_thread: InThread,
        fitted: FittedEncoder | None = None,
    ) -> None:
        self.fitted = fitted
        self.generation, self.rows, self.seq = generation, rows, seq
        self.name, self.page_rows, self.reach = generation.name, rows.rows, rows.rows
        self.answered = None, None  # of how many shards: there are none
        self.id, self.dim, self.count = generation.id, generation.dim, rows.count
        self.metric = generation.metric
        self.codes = generation.originals == "drop"  # vectors are compared as these restore them
        model = generation.manifest["model"]
        self.model: str | None = None if model is None else model["id"]
        self._pace, self._in_thread = pace, in_thread

    def as_of(self, rows: int, keep: Survived | None) -> tuple[ServedView, Survived | None]:
        """This view without rows that were added since an earlier view, and so what a filter keeps of it; later pages
        are read from it."""
        if rows >= self.rows.rows:
            return self, keep
        if keep is not None:
            keep = self.rows.without(keep, np.arange(rows, self.rows.rows))
        view = ServedView(self.generation, self.rows.as_of(rows), self.seq, self._pace, self._in_thread, self.fitted)
        return view, keep

    def asking(self, *queries: SearchRequest) -> ServedView:
        """Itself: it answers all queries alike."""
        return self

    def page_mark(self, row: int) -> tuple[int, str]:
        """What a cursor says of the row that a page ends with."""
        return row, ""

    def page_order(self, row: int, id_: str) -> Any:
        """As `rows.order`, of what `page_mark` said."""
        return self.rows.order(row)

    def field_type(self, name: str) -> str:
        """Of a declared field; raises FieldError for another."""
        return self.generation.filters.column(name).type

    async def document(self, id_: str, caller: Caller, deadline: Deadline, keep: Survived | None = None) -> int | None:
        """As `row_of`; where documents lie elsewhere, it brings this one here."""
        return self.row_of(id_, caller)

    async def bring(self, rows: Sequence[int], deadline: Deadline) -> None:
        """Payloads are here already."""

    def without_groups(
        self, filter_: Filter | None, keep: Survived | None, name: str, values: Sequence[Any], alone: Sequence[int]
    ) -> tuple[Filter | None, Survived | None]:
        """What a filter keeps but for rows of which a field has one of the values, and some rows that have none; as a
        filter, for words, and as rows."""
        gone = np.concatenate([self.rows.rows_with(name, values), np.array(alone, np.int64)])
        tree = Not(OneOf(name, tuple(values), ""))
        without = Filter(tree if filter_ is None else And((filter_.tree, tree)), b"")
        return without, self.rows.without(keep, gone)

    async def search(
        self,
        vectors: Vectors,
        k: int,
        effort: Effort | None,
        exact: bool,
        deadline: Deadline,
        keep: Survived | None = None,
    ) -> SearchedHere:
        """Rows and scores for float32 (q, dim), here or in the search thread, whichever costs less. Raises Problem for
        vectors that the index cannot rank, like zero, and for a deadline that passes before the thread is done."""
        if self._expected_s(len(vectors), k, effort, exact, keep) < INLINE_S:
            return self._search(vectors, k, effort, exact, keep)
        return await self._in_thread(deadline, self._search, vectors, k, effort, exact, keep)

    async def survivors(self, filter_: Filter | None, deadline: Deadline) -> Survived | None:
        """The rows that a filter keeps, None for all; raises Problem for one that does not fit this generation."""
        if filter_ is None:
            return None
        brief = self.count < INLINE_FILTER_ROWS and len(filter_.key) < INLINE_FILTER_BYTES
        if brief or self.generation.filters.known(filter_):
            return filters.survivors(self.rows, filter_)
        return await self._in_thread(deadline, filters.survivors, self.rows, filter_)

    def effort_of(self, effort: Effort | None) -> int:
        return self.generation.effort_of(effort)

    async def counted(self, keep: Survived | None, deadline: Deadline) -> int:
        """Documents that a filter keeps; all of them without one."""
        return self.count if keep is None else keep.count

    async def sample(self, wanted: int, deadline: Deadline) -> Vectors:
        """The vectors of so many documents drawn at random, the same each time."""
        rows = self.rows.sample(wanted, SAMPLE_SEED).tolist()
        return np.stack([self.rows.vector(row) for row in rows]) if rows else np.zeros((0, self.dim), np.float32)

    async def search_words(
        self,
        text: str,
        k: int,
        filter_: Filter | None,
        exact: bool,
        deadline: Deadline,
        keep: Survived | None = None,
        held: Mapping[str, int] | None = None,
    ) -> Matching:
        """The best k rows by the words of a text, here or in the search thread. Raises Problem where there are none.

        Args:
            keep: what the filter keeps, for views that know it by that.
            held: as `View.search_words` takes it.
        """
        if self.generation.lexical is None:
            raise Problem(
                "invalid-value",
                f"Generation {self.id} has no words to search: its documents had neither title nor text, or it was "
                "built with --no-lexical; use mode 'dense'.",
                pointer="/mode",
            )
        if self._pace.words_s < INLINE_S:
            return self._search_words(text, k, filter_, exact, held)
        return await self._in_thread(deadline, self._search_words, text, k, filter_, exact, held)

    async def search_sparse(self, text: str, k: int, deadline: Deadline, keep: Survived | None = None) -> Matching:
        """The best k rows by the sparse weights of a text, here or in the search thread. Raises Problem where there are
        none."""
        if self.generation.sparse is None:
            raise Problem(
                "invalid-value",
                f"Generation {self.id} has no sparse weights to search by: it was built without a model for them. "
                "Build it with `perwatt build --sparse MODEL`, or use another mode and no weight for them.",
                pointer="/mode",
            )
        if self._pace.sparse_s < INLINE_S:
            return self._search_sparse(text, k, keep)
        return await self._in_thread(deadline, self._search_sparse, text, k, keep)

    async def search_all(
        self,
        vectors: Vectors,
        text: str,
        k: int,
        filter_: Filter | None,
        effort: Effort | None,
        exact: bool,
        deadline: Deadline,
        keep: Survived | None = None,
        *,
        sparse: bool = False,
    ) -> AllSearched:
        """`search`, `search_words` and where it is asked for `search_sparse`, one after the other: they would only take
        turns."""
        searched = await self.search(vectors, k, effort, exact, deadline, keep)
        matched = await self.search_words(text, k, filter_, exact, deadline, keep)
        return AllSearched(searched, matched, await self.search_sparse(text, k, deadline, keep) if sparse else None)

    async def look(self, deadline: Deadline, work: Callable[..., T], *arguments: Any) -> T:
        """`work` that looks at a column of all rows, here or in the search thread, whichever costs less."""
        if self.count < INLINE_COLUMN_ROWS:
            return work(*arguments)
        return await self._in_thread(deadline, work, *arguments)

    def _search_words(
        self, text: str, k: int, filter_: Filter | None, exact: bool, held: Mapping[str, int] | None
    ) -> Matching:
        start_s = time.thread_time()
        found = self.rows.search_words(text, k, filter_, exact, held)
        self._pace.words_s = time.thread_time() - start_s
        return Matching(found, self._pace.words_s)

    def _search_sparse(self, text: str, k: int, keep: Survived | None) -> Matching:
        start_s = time.thread_time()
        found = self.rows.search_sparse(text, k, keep)
        self._pace.sparse_s = time.thread_time() - start_s
        return Matching(found, self._pace.sparse_s, self.rows.unweighed(keep))

    def compares_all(self, exact: bool, k: int, keep: Any = None, effort: Effort | None = None) -> bool:
        """Whether a search compares the query with every vector that may be a hit, because it was told to or because
        that is the quickest."""
        return exact or self.rows.compares_all(k, effort, keep)

    def row_of(self, id_: str, caller: Caller) -> int | None:
        """The row of a document, None for one that is not there or that the caller's key hides."""
        row = self.rows.row_of(id_)
        if row is None or not filters.holds(self.rows, filters.of_key(caller.filter), row):
            return None
        return row

    def payload(self, row: int, fields: list[str] | None) -> Raw:
        """The payload of a row as it lies in the file, or only the fields asked for, in the order
        asked for."""
        payload = self.rows.payload(row)
        if fields is None:
            return Raw(payload)
        there = _OBJECT.decode(payload)
        return Raw(msgspec.json.encode({name: there[name] for name in fields if name in there}))

    async def highlights(self, text: str, asked: Highlight, ids: Sequence[str], deadline: Deadline) -> Marked:
        """Where the words of a text stand in hits of this view: as they were indexed, or where none were, whole."""
        start_s = time.perf_counter()  # nothing here waits
        asked = msgspec.structs.replace(asked, fields=list(dict.fromkeys(asked.fields)))
        lexical = self.generation.lexical
        words = WordsIn(text, unstemmed() if lexical is None else lexical.analyse)
        rows = (self.rows.row_of(id_) for id_ in ids)
        found = []
        for row in rows:
            deadline.check()
            found.append(fragments_of(b"{}" if row is None else self.rows.payload(row), asked, words))
        return Marked(found, time.perf_counter() - start_s)

    def _search(
        self, vectors: Vectors, k: int, effort: Effort | None, exact: bool, keep: Survived | None
    ) -> SearchedHere:
        start_s = time.thread_time()
        try:
            found = self.rows.search_rows(vectors, k, effort, exact, keep)
        except InputError as error:
            raise Problem("invalid-value", f"The vector cannot be ranked: {error}.", pointer="/vector") from None
        return SearchedHere(found, time.thread_time() - start_s)

    def _expected_s(self, queries: int, k: int, effort: Effort | None, exact: bool, keep: Survived | None) -> float:
        if self.compares_all(exact, k, keep, effort):
            return queries * self._pace.exact_s * (1.0 if keep is None else keep.count / max(1, self.count))
        usual = self.generation.default_effort or 1
        harder = 1.0 if keep is None else self.count / max(1, keep.count)
        walk_s = self._pace.ann_s * max(1.0, max(self.generation.effort_of(effort), k) / usual) * harder
        return queries * min(walk_s, 2 * self._pace.exact_s)  # it gives up when it has cost as much as a scan
