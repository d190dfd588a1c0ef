"""From settings to a listening process, and from a signal to its end.

Start: the port is bound first, so that a port in use is reported before a model is loaded. Then everything is loaded
and checked, and only then does the server listen. A request never meets a half-loaded server.

SIGTERM: `/readyz` turns 503 while requests are still accepted for `drain_s`, so that a load balancer looks away. Then
the port is closed, requests in flight finish (at most `grace_s`), and the process ends with 0. SIGINT skips the first
part, and a second SIGINT the rest. SIGHUP: every index follows its alias on disk, and the keys their file, which is
also checked once a second; with `--follow` so are the aliases.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import resource
import signal
import socket
import time
from collections.abc import Callable, Coroutine
from types import FrameType
from typing import TYPE_CHECKING, Any

import uvicorn

from index.disk.root import index_of
from service.http.app import create_app
from service.http.connection import IDLE_S
from service.http.protocol import protocol_of
from service.processes.aliases import Aliases
from service.processes.channel import Channel
from service.processes.listening import address_of, bind, listen
from service.processes.loading import load
from service.processes.process import ServerProcess
from service.processes.worker import Shared
from service.query.app_state import AppState, Here
from service.rebuilds.due import Due
from service.settings import Settings

if TYPE_CHECKING:
    pass

log = logging.getLogger("perwatt.service")

YOUNG = 20_000  # objects before a collection: hundreds of waiting requests should not cause one
# Young collections before one of the middle generation. Ten thousand connections that come and go survive the young
# ones, are not garbage either, and a collection that looks at all of them stops everything for 35 to 55 ms.
MIDDLE = 50
SECOND_TICKS = 10  # of uvicorn's clock, which ticks every tenth of a second
MINUTE_TICKS = 60 * SECOND_TICKS  # between looks for changes that no generation needs, and for a rebuild that is due


def run(settings: Settings, started: Callable[[AppState, str], None]) -> None:
    """Serves until a signal ends it, in this process. `started` is told the address once requests are answered
    there."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until there is something to reload
    with bind(settings.host, settings.port) as listening:
        process = load(settings)
        address = address_of(settings, listening)
        listen(listening)
        serve(process, listening, lambda: started(process.state, address))


def work(settings: Settings, shared: Shared, describe: Callable[[AppState], str]) -> None:
    """Serves what comes down the channel, until a signal or the end of the parent. `describe`: what to say when
    ready."""
    process = load(settings, shared)

    def started() -> None:
        if process.channel is not None:
            process.channel.ready(describe(process.state))

    serve(process, None, started)


def serve(process: ServerProcess, listening: socket.socket | None, started: Callable[[], None]) -> None:
    gc.collect()
    gc.freeze()  # what is loaded now lives to the end: the collector need not look at it again
    thresholds = gc.get_threshold()
    gc.set_threshold(YOUNG, MIDDLE, thresholds[2])
    _many_connections(process.settings.connections)
    try:
        _Server(process, started).run(sockets=[] if listening is None else [listening])
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()


def _many_connections(connections: int) -> None:
    """As many open files as so many connections need, as far as we are allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + 512
    if soft != resource.RLIM_INFINITY and soft < wanted:
        allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, allowed), hard))


class _Server(uvicorn.Server):
    """uvicorn with our way out: a drain before the end, a reload on SIGHUP, exit status 0 after a
    signal."""

    def __init__(self, process: ServerProcess, started: Callable[[], None]) -> None:
        settings = process.settings
        self._make = protocol_of(process.fast_path, process.watch, process.state.metrics)
        super().__init__(
            uvicorn.Config(
                create_app(process.state, process.auth, process.spans, lambda: process.ready),
                loop="uvloop",
                http=self._make,
                ws="none",
                lifespan="on",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_keep_alive=round(IDLE_S),
                timeout_graceful_shutdown=max(1, round(settings.grace_s)),
            )
        )
        self._process = process
        first = process.shared is None or process.shared.worker == 0  # one worker of a service looks
        here = process.state.here
        self._due = Due(here.rebuilds, here.registry) if first and here is not None else None
        self._aliases = Aliases(here.registry) if settings.follow and here is not None else None
        self._say_started = started
        self._drained_at_s: float | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        process = self._process
        process.watch.start()
        if process.shared is not None:
            shared, here = process.shared, process.state.here
            process.channel = Channel(shared.channel, self._protocol, shared.closed, self._follow, self._orphaned)
            if here is not None:
                here.tell_others = process.channel.tell_others
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._reload)
        self._say_started()
        if process.state.here is not None:  # an alias that moved while this process loaded: nobody told it
            self._later(process.state.here.registry.catch_up())

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if sig == signal.SIGTERM and self._drained_at_s is None and not self.should_exit:
            self._process.ready = False
            self._drained_at_s = time.monotonic() + self._process.settings.drain_s
        elif sig == signal.SIGINT and self.should_exit:
            self.force_exit = True
        else:
            self._process.ready = False
            self.should_exit = True

    async def on_tick(self, counter: int) -> bool:
        here = self._process.state.here
        if counter % SECOND_TICKS == 0:
            self._process.state.metrics.note()
            self._process.state.spending.note()
            if self._process.auth.keyring is not None:
                self._process.auth.keyring.follow()
            if here is not None:
                here.registry.release()
                here.registry.keep_up()
            if here is not None and here.rebuilds.changed:
                self._later(self._follow_rebuilds(here))
            if self._aliases is not None:
                self._later(self._aliases.look())
        if here is not None and counter and counter % MINUTE_TICKS == 0:
            self._later(asyncio.to_thread(here.writing.trim))
            if self._due is not None:
                self._later(asyncio.to_thread(self._due.look))
        if self._drained_at_s is not None and time.monotonic() >= self._drained_at_s:
            self.should_exit = True
        return await super().on_tick(counter)

    def _protocol(self) -> asyncio.Protocol:
        return self._make(self.config, self.server_state, self.lifespan.state)

    def _orphaned(self) -> None:
        log.warning("the parent process is gone: finishing what is in flight")
        self._process.ready = False
        self.should_exit = True

    def _reload(self) -> None:
        log.info("SIGHUP: following the aliases on disk")
        if self._process.auth.keyring is not None:
            self._process.auth.keyring.reload()
        self._later(self._process.state.registry.reload_all())

    async def _follow_rebuilds(self, here: Here) -> None:
        for index in await asyncio.to_thread(here.rebuilds.ended):
            await here.registry.follow(index)

    async def _follow(self, name: str) -> None:
        """The alias of a name, which another worker has changed; or a generation, which it has prepared."""
        here, index = self._process.state.here, index_of(name)
        if here is None:
            return
        if index is None:
            await here.registry.reload(name)
        else:
            await here.registry.prepare(index, name)

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        """Kept until it is done: the loop has only a weak reference."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
