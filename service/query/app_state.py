"""What a query needs, in one place that the endpoints are handed.

What only the server process needs (connections, the channel to the other workers, its way out) is not here: see
`processes/process.py`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from starlette.requests import Request

from service.query.admission import Admission
from service.query.batcher import Batcher
from service.query.index_registry import IndexRegistry
from service.query.writing import Writing
from service.rebuilds.starting import Rebuilds
from service.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from embed import Encoder


async def _nobody(_name: str) -> None:
    """There are no other workers."""


@dataclass
class AppState:
    """
    Args:
        encoder: None when every generation was built from bare vectors; then there is no batcher either.
        timeout_s: deadline of a request that names none.
        tell_others: makes the other workers follow the alias of a name; returns when they have.
    """

    registry: IndexRegistry
    encoder: Encoder | None
    batcher: Batcher | None
    admission: Admission
    metrics: Metrics
    writing: Writing
    rebuilds: Rebuilds
    timeout_s: float
    tell_others: Callable[[str], Awaitable[None]] = _nobody

    def close(self) -> None:
        if self.batcher is not None:
            self.batcher.close()
        self.registry.close()
        self.writing.close()  # after who reads the logs, so that the last one to close them folds their -wal into them
        if self.encoder is not None:
            self.encoder.close()


def state_of(request: Request) -> AppState:
    state: AppState = request.app.state.query
    return state
