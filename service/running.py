"""Everything that lives as long as the server runs, in one place that the endpoints are handed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from starlette.requests import Request

from service.admission import Admission
from service.batcher import Batcher
from service.gate import Gate
from service.metrics import Metrics
from service.served import Served
from service.settings import Settings

if TYPE_CHECKING:
    from embed import Encoder


@dataclass
class Running:
    """encoder and batcher are None when every served generation was built from bare vectors."""

    settings: Settings
    served: Served
    encoder: Encoder | None
    batcher: Batcher | None
    admission: Admission
    metrics: Metrics
    gate: Gate
    isa: str  # the SIMD unit in use
    draining: bool = False

    def close(self) -> None:
        if self.batcher is not None:
            self.batcher.close()
        self.served.close()
        if self.encoder is not None:
            self.encoder.close()


def running_of(request: Request) -> Running:
    running: Running = request.app.state.running
    return running
