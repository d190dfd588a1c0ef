"""`perwatt serve --workers N`: from settings to a supervisor and its workers.

Nothing native may be imported here: the workers are forked from this process, and a library that has started threads or
read its number of them does not survive a fork. What a worker needs is imported in the worker.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from embed.encoders.query_cache import CacheMemory
from service.processes.listening import address_of, bind
from service.processes.supervisor import Supervisor
from service.processes.worker import Shared
from service.settings import Settings
from service.telemetry.slab import Slab

if TYPE_CHECKING:
    from service.query.app_state import AppState

ROW_NUMBERS = 2048  # of a worker in the slab of metrics; its layout is known only where the routes are


def run_workers(settings: Settings, describe: Callable[[AppState], str], started: Callable[[str, str], None]) -> None:
    """Serves until a signal ends it.

    Args:
        describe: what a worker has to say of what it serves.
        started: told that, and the address, once requests are answered there.
    """

    def work(shared: Shared) -> None:
        from service.processes import server

        server.work(settings, shared, describe)

    with bind(settings.host, settings.port) as listening:
        address = address_of(settings, listening)
        slab = Slab(ROW_NUMBERS, settings.workers)
        queries = CacheMemory(settings.query_cache_mib << 20) if settings.query_cache_mib else None
        Supervisor(listening, settings.workers, slab, work, settings.drain_s, settings.grace_s, queries).run(
            lambda said: started(said, address)
        )
