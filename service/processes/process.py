"""What the server process needs beyond what a query needs (`query/app_state.py`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from service.access.auth import Auth
from service.http.fast_path import FastPath
from service.http.watch import Watch
from service.query.app_state import AppState
from service.settings import Settings

if TYPE_CHECKING:
    from service.processes.channel import Channel
    from service.processes.worker import Shared
    from service.telemetry.spans import Spans


@dataclass
class ServerProcess:
    """
    Args:
        ready: whether requests should be sent here; False once the server is on its way out.
        spans: None where nothing is traced.
        shared: with the other workers; None where there are none, as is `channel`.
    """

    settings: Settings
    state: AppState
    auth: Auth
    fast_path: FastPath
    watch: Watch
    ready: bool = True
    spans: Spans | None = None
    shared: Shared | None = None
    channel: Channel | None = None

    def close(self) -> None:
        self.state.close()
        if self.spans is not None:
            self.spans.close()
