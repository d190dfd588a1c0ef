"""One generation in memory: leased by the requests that search it, closed when the last of them is done.

A switch must not close the files under a running search, and must not wait for it either. So a request takes a lease, a
generation that was replaced is retired, and the return of the last lease of a retired one closes it. All of it happens
on the event loop's thread, so a counter is enough.

How long a search takes is measured when the generation is loaded, which also brings its first pages into memory.
"""

from __future__ import annotations

import asyncio
import functools
import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
import numpy as np

from index import Generation
from index.changes.view import Searchable
from index.search.finding import MEASURED_K
from service.query.admission import Deadline
from service.query.following import Follower
from service.query.pace import Pace
from service.query.served_view import INLINE_S, ServedView
from service.wire.answer.indexes import FilterableField
from service.wire.answer.recall import Recall
from service.wire.cursor import rows_of
from service.wire.default_search import DefaultSearch
from service.wire.request.search import SearchRequest

if TYPE_CHECKING:
    from embed.encoders.fitted.encoder import FittedEncoder

WARM_QUERIES = 16
LONG_S = 10 * INLINE_S  # two exact searches of this length say enough; of rows on the disk each reads all of them

T = TypeVar("T")


class ServedGeneration:
    """
    Args:
        fitted: what encodes texts before the model is asked, where the default search does not say otherwise.
    """

    default_search: DefaultSearch | None = None  # of the index, where somebody has written one

    def __init__(
        self, generation: Generation, threads: ThreadPoolExecutor, fitted: FittedEncoder | None = None
    ) -> None:
        self.generation, self._fitted = generation, fitted
        self.id, self.name = generation.id, generation.name
        self.dim = generation.dim
        model = generation.manifest["model"]
        self.model: str | None = None if model is None else model["id"]
        self._threads = threads
        self.named_s = -math.inf  # when somebody last named it by its id
        self._leases = 0
        self._retired = False
        self._closed = False
        self.follower = Follower(generation)
        self._pace = Pace(*self._warm())
        self._view = self._made(self.follower.now())

    @property
    def count(self) -> int:
        """How many documents there are now, with the changes."""
        return self.view().count

    @property
    def written_since(self) -> int:
        """Of them, those that were put since the generation was built."""
        delta = self.follower.delta
        return 0 if delta is None else len(delta.rows)

    @property
    def unweighed(self) -> int:
        """Of those, the ones without sparse weights, where the generation has them."""
        delta = self.follower.delta
        return 0 if delta is None else delta.unweighed

    @property
    def recall(self) -> Recall | None:
        """What the build measured, of a shard that of all shards together; None for a set too small to hold anything
        out."""
        measured = (self.generation.whole or {}).get("recall", self.generation.manifest["recall"])
        if not measured:
            return None
        return Recall(measured["k"], measured["recall"], measured["low"], measured["high"], measured["queries"])

    @property
    def modes(self) -> list[str]:
        """Of searches that it answers."""
        there = {
            "lexical": self.generation.lexical,
            "sparse": self.generation.sparse,
            "hybrid": self.generation.lexical,
        }
        return ["dense", *(mode for mode, what in there.items() if what is not None)]

    @property
    def described(self) -> str:
        """How well it finds, in a few words."""
        if self.view().compares_all(False, MEASURED_K):
            return "exact"
        recall = self.recall
        if recall is None:
            return "recall unknown"
        return f"recall@{recall.k} {recall.value:.3f} ({recall.low:.3f} to {recall.high:.3f})"

    @functools.cached_property
    def filterable(self) -> dict[str, FilterableField]:
        columns = self.generation.filters.columns
        return {name: msgspec.convert(column.describe(), FilterableField) for name, column in columns.items()}

    def view(self) -> ServedView:
        """What is searched now. It must be used while a lease is held."""
        rows = self.follower.now()
        if rows is not self._view.rows:
            self._view = self._made(rows)
        return self._view

    def searched_by(self, default: DefaultSearch | None) -> None:
        """Takes another default search, from the next request on; none where it is one that this generation has not
        what it takes for."""
        possible = default is not None and default.needs <= set(self.modes)
        self.default_search = default.of(self.id) if default is not None and possible else None
        self._view = self._made(self.follower.now())

    @property
    def _fitted_used(self) -> FittedEncoder | None:
        default = self.default_search
        return None if default is not None and default.query_encoder == "model" else self._fitted

    def _made(self, rows: Searchable) -> ServedView:
        return ServedView(self.generation, rows, self.follower.seq, self._pace, self.in_thread, self._fitted_used)

    async def view_at(self, min_seq: int | None, deadline: Deadline) -> ServedView:
        """As `view`, once every change up to `min_seq` is in it. Raises Problem when the deadline passes before."""
        if min_seq is not None and self.follower.seq < min_seq:
            await self.follower.at(min_seq, deadline)
        return self.view()

    async def view_for(self, query: SearchRequest, deadline: Deadline) -> ServedView:
        """As `view_at`, of one query; a page that follows one of another worker waits for the changes that had."""
        view, rows = await self.view_at(query.min_seq, deadline), rows_of(query.cursor)
        while rows > view.page_rows and self.follower.behind and self.follower.failure is None:
            await deadline.limit(asyncio.sleep(0))
            view = self.view()
        return view

    async def view_to_write(self, deadline: Deadline, min_seq: int | None = None) -> ServedView:
        """As `view_at`, with every change that was acknowledged before: what a write does may depend on any of them."""
        return await self.view_at(max(min_seq or 0, self.follower.acknowledged), deadline)

    def __enter__(self) -> ServedGeneration:
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

    def _warm(self) -> tuple[float, float]:
        """Seconds of one approximate and one exact search, with rows' own vectors as queries.

        The least of several: the others waited for pages from disk, or for a processor that was busy elsewhere, and a
        choice that lasts as long as the generation should not hang on what else ran in its first millisecond.
        """
        rows = np.linspace(0, self.generation.count - 1, min(WARM_QUERIES, self.generation.count)).astype(np.int64)
        least = {False: math.inf, True: math.inf}
        for exact in least:
            for number, row in enumerate(rows.tolist()):
                if exact and number > 1 and least[exact] > LONG_S:
                    break
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
            # A view knows the way back to this object. Whole collections are rare in a service, so a circle would keep
            # what was written since the generation in memory for hours.
            del self._view
            self.follower.close()
            self.generation.close()
