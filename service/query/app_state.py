"""What a query needs, in one place that the endpoints are handed.

What only the server process needs (connections, the channel to the other workers, its way out) is not here: see
`processes/process.py`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from starlette.requests import Request

from service.access.caller import Caller
from service.access.ledger import Ledger
from service.query.admission import Admission
from service.query.batcher import Batcher
from service.query.index_registry import IndexRegistry
from service.query.searched import LoadedIndex, LoadedIndexes
from service.query.writes.root_writer import Writing
from service.query.writes.weighing import Weighing
from service.rebuilds.starting import Rebuilds
from service.rerank.reranking import Reranking
from service.telemetry.metrics import Metrics
from service.telemetry.spending import Spending
from service.wire.default_search import settled
from service.wire.request.search import SearchRequest

if TYPE_CHECKING:
    from embed import Encoder


async def _nobody(_name: str) -> None:
    """There are no other workers."""


@dataclass
class Here:
    """What takes an index in this process: to write to it, to switch it, to build it anew.

    Args:
        tell_others: makes the other workers follow the alias of a name; returns when they have.
    """

    registry: IndexRegistry
    writing: Writing
    rebuilds: Rebuilds
    weighing: Weighing
    tell_others: Callable[[str], Awaitable[None]] = _nobody


@dataclass
class AppState:
    """
    Args:
        here: None behind a router, where every index lies elsewhere.
        encoder: None when every generation was built from bare vectors; then there is no batcher either.
        timeout_s: deadline of a request that names none.
        ledger: what each key has used.
        spending: what that costs.
        reranking: None where no reranker was given.
    """

    registry: LoadedIndexes
    encoder: Encoder | None
    batcher: Batcher | None
    admission: Admission
    metrics: Metrics
    timeout_s: float
    here: Here | None
    ledger: Ledger
    spending: Spending
    reranking: Reranking | None = None

    def asked(self, loaded: LoadedIndex, query: SearchRequest) -> SearchRequest:
        """The query as that index is searched: by its default search, where it says neither mode nor params."""
        default = loaded.default_search
        return settled(query) if default is None else default.asked(query, reranker=self.reranking is not None)

    def count(
        self, caller: Caller, *, queries: int = 0, tokens: int = 0, vectors_scored: int = 0, cpu_s: float = 0.0
    ) -> None:
        """Counts work that was done, for the whole service and for the key that asked for it."""
        self.metrics.count_work(queries, tokens, vectors_scored, cpu_s)
        account = caller.account
        (self.ledger.no_key if account is None else account).add(queries, tokens, vectors_scored, cpu_s)

    def close(self) -> None:
        if self.reranking is not None:
            self.reranking.close()
        if self.batcher is not None:
            self.batcher.close()
        self.registry.close()
        if self.here is not None:
            # After who reads the logs, so that the last one to close them folds their -wal into them.
            self.here.writing.close()
            self.here.weighing.close()
        if self.encoder is not None:
            self.encoder.close()


def here_of(request: Request) -> Here:
    """Of a server of indexes that lie here; the routes that ask for it are not a router's."""
    here = state_of(request).here
    assert here is not None
    return here


def state_of(request: Request) -> AppState:
    state: AppState = request.app.state.query
    return state
