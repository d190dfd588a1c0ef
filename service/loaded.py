"""One generation in memory: searched by requests that hold a lease on it, closed when the last of
them is done.

A switch must not pull the files from under a search that is running, and must not wait for it
either. So a request takes a lease, a generation that was replaced is retired, and whoever gives
back the last lease of a retired one closes it. All of it happens on the event loop's thread, so a
counter is enough.

A short search runs on the event loop itself, a long one in the one search thread. How long a search
takes is measured when the generation is loaded, which also brings its first pages into memory.
"""

from __future__ import annotations

import asyncio
import functools
import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

import msgspec
import numpy as np
from msgspec import Raw

from index import Found, Generation, InputError
from index.bitmap import Bitmap
from index.filtering import Filter
from index.lexical import Matched
from service import filters
from service.admission import Deadline
from service.answers import FilterableField, Recall
from service.caller import Caller
from service.problems import Problem

# A worker has one core, so a search in another thread takes its turns from the loop anyway, and pays 20 to 60 µs of
# processor time for the hop and back. Up to this length the loop does it itself: 2 ms is a delay nobody else notices.
INLINE_S = 2e-3
# A filter that was not asked before reads columns: up to this many rows that, too, is done within 2 ms.
INLINE_FILTER_ROWS = 500_000
WARM_QUERIES = 16

T = TypeVar("T")
Vectors = np.ndarray[Any, np.dtype[np.float32]]
_OBJECT = msgspec.json.Decoder(dict[str, Raw])


class Searched(NamedTuple):
    found: Found
    cpu_s: float


class Matching(NamedTuple):
    """What the words of a text matched."""

    found: Matched
    cpu_s: float


class Loaded:
    def __init__(self, generation: Generation, threads: ThreadPoolExecutor) -> None:
        self.generation = generation
        self.id = generation.id
        self.dim = generation.dim
        self.count = generation.count
        model = generation.manifest["model"]
        self.model: str | None = None if model is None else model["id"]
        self._threads = threads
        self._leases = 0
        self._retired = False
        self._closed = False
        self._ann_s, self._exact_s = self._warm()
        self._words_s = 0.0  # the last search by words

    @property
    def recall(self) -> Recall | None:
        """What the build measured; None for a set too small to hold anything out."""
        measured = self.generation.manifest["recall"]
        if not measured:
            return None
        return Recall(measured["k"], measured["recall"], measured["low"], measured["high"], measured["queries"])

    @functools.cached_property
    def filterable(self) -> dict[str, FilterableField]:
        columns = self.generation.filters.columns
        return {name: msgspec.convert(column.describe(), FilterableField) for name, column in columns.items()}

    def __enter__(self) -> Loaded:
        """Takes a lease: the generation stays open for the length of the with block."""
        self._leases += 1
        return self

    def __exit__(self, *_: object) -> None:
        self._release()

    def retire(self) -> None:
        """No new lease will be taken; closes now or when the last lease ends."""
        self._retired = True
        self._close_if_done()

    @property
    def closed(self) -> bool:
        return self._closed

    async def search(
        self,
        vectors: Vectors,
        k: int,
        effort: int | None,
        exact: bool,
        deadline: Deadline,
        keep: Bitmap | None = None,
    ) -> Searched:
        """Rows and scores for float32 (q, dim), here or in the search thread, whichever costs less. Raises Problem for
        vectors that the index cannot rank, like zero, and for a deadline that passes before the thread is done."""
        if self._expected_s(len(vectors), k, effort, exact, keep) < INLINE_S:
            return self._search(vectors, k, effort, exact, keep)
        return await self.in_thread(deadline, self._search, vectors, k, effort, exact, keep)

    async def in_thread(self, deadline: Deadline, work: Callable[..., T], *arguments: Any) -> T:
        """`work` in the search thread; raises Problem when the deadline passes before it is done."""

        async def done() -> T:
            # The thread has a lease of its own: the request may run into its deadline before the work ends.
            loop = asyncio.get_running_loop()
            self._leases += 1
            future = self._threads.submit(work, *arguments)
            future.add_done_callback(lambda _done: loop.call_soon_threadsafe(self._release))
            return await asyncio.wrap_future(future)

        return await deadline.limit(done())

    async def survivors(self, filter_: Filter | None, deadline: Deadline) -> Bitmap | None:
        """The rows that a filter keeps, None for all; raises Problem for one that does not fit this generation."""
        if filter_ is None:
            return None
        if self.count < INLINE_FILTER_ROWS or self.generation.filters.known(filter_):
            return filters.survivors(self.generation.filters, filter_)
        return await self.in_thread(deadline, filters.survivors, self.generation.filters, filter_)

    async def search_words(self, text: str, k: int, filter_: Filter | None, deadline: Deadline) -> Matching:
        """The best k rows by the words of a text, here or in the search thread. Raises Problem where there are none."""
        if self.generation.lexical is None:
            raise Problem(
                "invalid-value",
                f"Generation {self.id} has no words to search: its documents had neither title nor text, or it was "
                "built with --no-lexical; use mode 'dense'.",
                pointer="/mode",
            )
        if self._words_s < INLINE_S:
            return self._search_words(text, k, filter_)
        return await self.in_thread(deadline, self._search_words, text, k, filter_)

    def _search_words(self, text: str, k: int, filter_: Filter | None) -> Matching:
        start_s = time.thread_time()
        found = self.generation.search_words(text, k, filter_)
        self._words_s = time.thread_time() - start_s
        return Matching(found, self._words_s)

    def compares_all(self, exact: bool, keep: Bitmap | None = None, effort: int | None = None) -> bool:
        """Whether a search compares the query with every vector that may be a hit, because it was told to or because
        that is the quickest."""
        return exact or self.generation.family == "flat" or self._scans(keep, effort)

    def _scans(self, keep: Bitmap | None, effort: int | None) -> bool:
        return keep is not None and keep.count <= self.generation.few(effort)

    def row_of(self, id_: str, caller: Caller) -> int | None:
        """The row of a document, None for one that is not there or that the caller's key hides."""
        row = self.generation.row_of(id_)
        if row is None or not filters.holds(self.generation.filters, filters.of_key(caller.filter), row):
            return None
        return row

    def payload(self, row: int, fields: list[str] | None) -> Raw:
        """The payload of a row as it lies in the file, or only the fields asked for, in the order
        asked for."""
        payload = self.generation.payload(row)
        if fields is None:
            return Raw(payload)
        there = _OBJECT.decode(payload)
        return Raw(msgspec.json.encode({name: there[name] for name in fields if name in there}))

    def _search(self, vectors: Vectors, k: int, effort: int | None, exact: bool, keep: Bitmap | None) -> Searched:
        start_s = time.thread_time()
        try:
            found = self.generation.search_rows(vectors, k, effort, exact, keep)
        except InputError as error:
            raise Problem("invalid-value", f"The vector cannot be ranked: {error}.", pointer="/vector") from None
        return Searched(found, time.thread_time() - start_s)

    def _expected_s(self, queries: int, k: int, effort: int | None, exact: bool, keep: Bitmap | None) -> float:
        if exact or self._scans(keep, effort):
            return queries * self._exact_s * (1.0 if keep is None else keep.count / self.count)
        usual = self.generation.default_effort or 1
        harder = 1.0 if keep is None else self.count / max(1, keep.count)
        return queries * self._ann_s * max(1.0, max(effort or 0, k) / usual) * harder

    def _warm(self) -> tuple[float, float]:
        """Seconds of one approximate and one exact search, with rows' own vectors as queries.

        The least of several: the others waited for pages from disk, or for a processor that was busy elsewhere, and a
        choice that lasts as long as the generation should not hang on what else ran in its first millisecond.
        """
        rows = np.linspace(0, self.count - 1, min(WARM_QUERIES, self.count)).astype(np.int64)
        least = {False: math.inf, True: math.inf}
        for exact in least:
            for row in rows.tolist():
                query = self.generation.vector(row).reshape(1, -1)
                start_s = time.perf_counter()
                self.generation.search_rows(query, 10, exact=exact)
                least[exact] = min(least[exact], time.perf_counter() - start_s)
        return least[False], least[True]

    def _release(self) -> None:
        self._leases -= 1
        self._close_if_done()

    def _close_if_done(self) -> None:
        if self._retired and self._leases == 0 and not self._closed:
            self._closed = True
            self.generation.close()
