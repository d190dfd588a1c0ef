"""Everything that lives as long as the server runs, in one place that the endpoints are handed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from starlette.requests import Request

from service.query.admission import Admission
from service.query.batcher import Batcher
from service.access.auth import Auth
from service.telemetry.metrics import Metrics
from service.query.index_registry import IndexRegistry
from service.settings import Settings
from service.query.writing import Writing

if TYPE_CHECKING:
    from embed import Encoder
    from service.processes.channel import Channel
    from service.http.fast_path import FastPath
    from service.telemetry.spans import Spans
    from service.processes.supervisor import Shared
    from service.http.watch import Watch


@dataclass
class AppState:
    """encoder and batcher are None when every served generation was built from bare vectors; shared and channel
    when there is one process."""

    settings: Settings
    registry: IndexRegistry
    encoder: Encoder | None
    batcher: Batcher | None
    admission: Admission
    metrics: Metrics
    auth: Auth
    writing: Writing
    isa: str  # the SIMD unit in use
    shared: Shared | None = None  # with the other workers
    spans: Spans | None = None  # None: nothing is traced
    fast_path: FastPath = field(init=False)
    watch: Watch = field(init=False)
    channel: Channel | None = None
    draining: bool = False

    def close(self) -> None:
        if self.batcher is not None:
            self.batcher.close()
        self.registry.close()
        self.writing.close()  # after who reads the logs, so that the last one to close them folds their -wal into them
        if self.encoder is not None:
            self.encoder.close()
        if self.spans is not None:
            self.spans.close()


def state_of(request: Request) -> AppState:
    state: AppState = request.app.state.running
    return state
