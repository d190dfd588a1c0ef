"""A worker: what it shares with the others, how its parent sees it, and what it does from the fork to its end."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Callable

from embed.encoders.query_cache import CacheMemory
from service.access.quota import Quotas
from service.errors import ServiceError
from service.telemetry.slab import Slab

log = logging.getLogger("perwatt.service")

MESSAGE_BYTES = 64 << 10  # the longest that goes over a channel


class Shared:
    """What a worker is born with: its number, its end of the channel, and memory that it shares with the others."""

    def __init__(
        self,
        worker: int,
        channel: socket.socket,
        metrics: Slab,
        quotas: Quotas,
        closed: Slab,
        service: str,
        queries: CacheMemory | None,
        used: Slab,
        spent: Slab,
    ) -> None:
        """
        Args:
            service: a name that the workers of this service share and no other service has.
            queries: for the vectors of queries seen before, None: they are not kept.
            used: of the ledger.
            spent: of what the service spends.
        """
        self.used, self.spent = used, spent
        self.worker, self.service = worker, service
        self.channel = channel
        self.metrics, self.quotas, self.queries = metrics, quotas, queries
        self._closed = closed.row(worker)

    def closed(self) -> None:
        """A connection has ended."""
        self._closed[0] += 1


class ForkedWorker:
    """As the parent sees it."""

    def __init__(self, pid: int, channel: socket.socket, closed: memoryview[float]) -> None:
        self.pid = pid
        self.channel = channel
        self.born_s = time.monotonic()
        self.given = 0  # connections
        self.untaken: deque[socket.socket] = deque()  # … that may still lie in its channel, the oldest first
        self.ready = False
        self._closed, self._closed_before = closed, closed[0]

    @property
    def open(self) -> float:
        return self.given - (self._closed[0] - self._closed_before)

    def took(self, connections: int) -> None:
        """The worker has that many of all it was given, and the parent must let go of them: as long as it holds one,
        the caller does not see it closed."""
        while len(self.untaken) > self.given - connections:
            self.untaken.popleft().close()


def live(work: Callable[[Shared], None], shared: Shared) -> None:
    """Does `work` and ends the process; does not return. What was foreseen is said in a sentence."""
    status = 1
    try:
        work(shared)
        status = 0
    except ServiceError as error:
        print(f"perwatt: error: {error}", file=sys.stderr)
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else 1
    except KeyboardInterrupt:
        status = 130
    except Exception as error:
        from index.disk.files import storage_failure

        said = str(error) if isinstance(error, _foreseen()) else storage_failure(error)
        if said is None:
            log.exception("worker %d failed", shared.worker)
        else:
            print(f"perwatt: error: {said}", file=sys.stderr)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def how_it_ended(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    return f"status {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"


def _foreseen() -> tuple[type[Exception], ...]:
    """The base classes of the errors of the packages that a worker loads, without loading them here."""
    places = (("embed.errors", "EmbedError"), ("index.errors", "IndexingError"))
    return tuple(getattr(sys.modules[module], name) for module, name in places if module in sys.modules)
