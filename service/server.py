"""From settings to a listening process, and from a signal to its end.

Start: the port is taken first, because a port that is in use should be heard of before a model is
loaded and not after; then everything is loaded and checked, and only then does the server listen. A
request never meets a half-loaded server.

SIGTERM: `/readyz` turns 503 while requests are still taken for `drain_s`, so that a load balancer
looks away; then the port is closed, requests in flight finish (at most `grace_s`), and the process
ends with 0. SIGINT skips the first part, and a second one the rest. SIGHUP: every index follows its
alias on disk, and the keys their file, which is also looked at once a second.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import socket
import time
from collections.abc import Callable
from types import FrameType

import uvicorn

from index import Root, kernels
from service.admission import Admission
from service.app import create_app
from service.batcher import Batcher
from service.errors import SettingsError
from service.gate import Gate
from service.keyring import Keyring
from service.loading import encoder_for
from service.metrics import Metrics
from service.protocol import Protocol
from service.quota import Quotas
from service.routes import accesses
from service.running import Running
from service.served import Served
from service.settings import Settings, is_loopback

log = logging.getLogger("perwatt.service")

KEYS_TICKS = 10  # of a tenth of a second between two looks at the file of keys
KEEP_ALIVE_S = 75  # above the 60 s after which common load balancers drop an idle connection, so that they do it first


def load(settings: Settings) -> Running:
    """Everything the service needs, loaded and checked; raises ServiceError, or EmbedError for the
    model."""
    root = Root(settings.root)
    names = settings.names or tuple(root.names())
    if not names:
        raise SettingsError(
            f"There is no index under {settings.root}. Build one with `perwatt build VECTORS --index NAME "
            f"--root {settings.root}`, or name another folder with --root."
        )
    unknown = [name for name in names if name not in root.names()]
    if unknown:
        raise SettingsError(
            f"There is no index {unknown[0]!r} under {settings.root}; there are {', '.join(root.names()) or 'none'}."
        )
    encoder = encoder_for(settings, root, names)
    served = Served(root, names, encoder, settings.threads)
    served.load_all()
    metrics = Metrics()
    machine = kernels.info()
    admission = Admission(settings.concurrency)
    metrics.watch(served, admission, machine)
    batcher = None if encoder is None else Batcher(encoder, metrics.encode_batch.observe, settings.threads)
    return Running(settings, served, encoder, batcher, admission, metrics, gate_of(settings), str(machine["isa"]))


def gate_of(settings: Settings) -> Gate:
    """Raises KeysError when there is a file of keys and it cannot be used."""
    keyring = None if settings.keys is None else Keyring(settings.keys, Quotas())
    guarded = keyring is None and is_loopback(settings.host)
    return Gate(accesses(), keyring, frozenset(settings.allow_hosts) if guarded else None)


def run(settings: Settings, started: Callable[[Running, str], None]) -> None:
    """Serves until a signal ends it. `started` is told the address once requests are answered
    there."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until there is something to reload
    with bind(settings.host, settings.port) as listening:
        running = load(settings)
        gc.collect()
        gc.freeze()  # what is loaded now lives to the end: the collector need not look at it again
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        address = f"http://{host}:{listening.getsockname()[1]}"
        server = _Server(running, lambda: started(running, address))
        server.run(sockets=[listening])


def bind(host: str, port: int) -> socket.socket:
    """A bound socket that does not listen yet; port 0 takes a free one."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise SettingsError(
            f"Cannot listen on {host} port {port} ({error.strerror}); choose another with --host and --port."
        ) from None
    return listening


class _Server(uvicorn.Server):
    """uvicorn with our way out: a drain before the end, a reload on SIGHUP, exit status 0 after a
    signal."""

    def __init__(self, running: Running, started: Callable[[], None]) -> None:
        settings = running.settings
        super().__init__(
            uvicorn.Config(
                create_app(running),
                loop="uvloop",
                http=Protocol,
                ws="none",
                lifespan="on",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_keep_alive=KEEP_ALIVE_S,
                timeout_graceful_shutdown=max(1, round(settings.grace_s)),
            )
        )
        self._running = running
        self._say_started = started
        self._drained_at_s: float | None = None
        self._reloading: set[asyncio.Task[None]] = set()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._reload)
        self._say_started()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if sig == signal.SIGTERM and self._drained_at_s is None and not self.should_exit:
            self._running.draining = True
            self._drained_at_s = time.monotonic() + self._running.settings.drain_s
        elif sig == signal.SIGINT and self.should_exit:
            self.force_exit = True
        else:
            self._running.draining = True
            self.should_exit = True

    async def on_tick(self, counter: int) -> bool:
        keyring = self._running.gate.keyring
        if keyring is not None and counter % KEYS_TICKS == 0:
            keyring.follow()
        if self._drained_at_s is not None and time.monotonic() >= self._drained_at_s:
            self.should_exit = True
        return await super().on_tick(counter)

    def _reload(self) -> None:
        log.info("SIGHUP: following the aliases on disk")
        if self._running.gate.keyring is not None:
            self._running.gate.keyring.reload()
        task = asyncio.get_running_loop().create_task(self._running.served.reload_all())
        self._reloading.add(task)  # the loop keeps only a weak reference
        task.add_done_callback(self._reloading.discard)
