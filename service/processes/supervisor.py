"""Several workers behind one port: which worker gets a connection, how dead ones are replaced, what all must hear.

Workers that accept from one listening socket do not share it evenly: the kernel wakes the one that came to wait last,
so a few take most connections, which is what uvicorn's `--workers` does. One socket per worker with SO_REUSEPORT
spreads them by a hash of the addresses, which is even for thousands of connections but not for the eight that a load
balancer keeps open. Measured with four workers (`service/bench/spread.py`), the fullest had 49 % of eight connections
and 63 % of 64 with one socket, 50 % and 32 % with SO_REUSEPORT. Here the parent accepts, and hands each connection to
the worker that has the fewest: 25 % of any number. That costs one message per connection and nothing per request. It
cannot even out connections of unequal load. Where no worker can take a connection, it waits (`accepting.py`).

The parent is kept too small to fail: it loads no index, no model and no native library, and forks its workers from that
clean state. A worker that dies is replaced, after a pause that doubles while it keeps dying. The connections that it
had taken are lost, its counters are not. If the parent dies, the workers see the end of their channel and finish what
they have.

A channel is a socket pair that preserves message boundaries (SEQPACKET): connections go down it as descriptors,
messages go both ways. When one worker has switched a generation, the others are told to follow before its caller gets
the answer.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable, Collection
from typing import Any

import msgspec

from embed.encoders.query_cache import CacheMemory
from service.access import ledger
from service.access.quota import Quotas
from service.errors import ServiceError
from service.processes.accepting import Accepting
from service.processes.worker import MESSAGE_BYTES, ForkedWorker, Shared, how_it_ended, live
from service.telemetry import spending
from service.telemetry.slab import Slab

log = logging.getLogger("perwatt.service")

PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0  # before a dead worker is replaced
STABLE_S = 60.0  # a worker that lived as long is not one that keeps dying


class Supervisor:
    """
    Args:
        work: what a worker does with what it shares, until it ends. It runs in a fork of this process.
    """

    def __init__(
        self,
        listening: socket.socket,
        workers: int,
        metrics: Slab,
        work: Callable[[Shared], None],
        drain_s: float,
        grace_s: float,
        queries: CacheMemory | None = None,
    ) -> None:
        self._wanted = workers
        self._metrics, self._queries = metrics, queries
        self._quotas = Quotas()
        self._service = secrets.token_hex(8)
        self._closed = Slab(1, workers)
        self._used, self._spent = Slab(ledger.WIDTH, workers), Slab(spending.WIDTH, workers)
        self._work = work
        self._drain_s, self._grace_s = drain_s, grace_s
        self._workers: dict[int, ForkedWorker] = {}
        self._failures = [0] * workers
        self._replace_at_s: dict[int, float] = {}
        self._selector = selectors.DefaultSelector()
        self._accepting = Accepting(listening, self._selector, self._give, self._any_ready)
        self._asked: dict[
            int, tuple[int, int, set[int]]
        ] = {}  # question → who asked, its own number, who has to answer
        self._questions = 0
        self._close_at_s: float | None = None
        self._kill_at_s = float("inf")
        self._ending = False
        self._said = ""

    def run(self, started: Callable[[str], None]) -> None:
        """Until a signal ends it. `started` gets what the first worker has to say when all are ready. Raises
        ServiceError when a worker has no process; ends the program when one cannot start, which has said why."""
        woken, waking = socket.socketpair()
        for end in (woken, waking):
            end.setblocking(False)
        signal.set_wakeup_fd(waking.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, lambda *_: None)  # `woken` tells which
        self._woken = woken
        self._selector.register(woken, selectors.EVENT_READ, self._signalled)
        try:
            self._start_all([0])
            if not self._ending:
                self._start_all(range(1, self._wanted))
            if not self._ending:
                self._accepting.start()
                started(self._said)
            while self._workers or (self._replace_at_s and not self._ending):
                self._turn(1.0)
        finally:
            for each in self._workers.values():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(each.pid, signal.SIGKILL)
            self._accepting.close()

    # --- workers ----------------------------------------------------------------------------------------------------

    def _start(self, worker: int) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        sys.stdout.flush()
        sys.stderr.flush()
        try:
            pid = os.fork()
        except OSError:
            ours.close()
            theirs.close()
            raise
        if pid == 0:
            self._be_worker(worker, ours, theirs)
        theirs.close()
        ours.setblocking(False)
        self._workers[worker] = ForkedWorker(pid, ours, self._closed.row(worker))
        self._selector.register(ours, selectors.EVENT_READ, lambda: self._heard(worker))

    def _be_worker(self, worker: int, ours: socket.socket, theirs: socket.socket) -> None:
        """Does not return. Nothing of the parent may stay open here: an end of a channel in a second process would keep
        the first from noticing that it was closed."""
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        ours.close()
        self._accepting.close()
        for each in self._workers.values():
            for connection in each.untaken:
                connection.close()
        for key in list(self._selector.get_map().values()):
            if isinstance(key.fileobj, socket.socket):
                key.fileobj.close()
        self._selector.close()
        memory = (self._metrics, self._quotas, self._closed, self._service, self._queries, self._used, self._spent)
        live(self._work, Shared(worker, theirs, *memory))

    def _start_all(self, workers: Collection[int]) -> None:
        """Until they are ready, or the service is told to end."""
        for worker in workers:
            try:
                self._start(worker)
            except OSError as error:
                raise ServiceError(
                    f"the process of worker {worker} cannot be started: {error}. Start fewer of the {self._wanted} "
                    f"(--workers), or allow more processes (ulimit -u, or pids.max of the container)."
                ) from error
        while not self._ending and not all(
            self._workers[worker].ready for worker in workers if worker in self._workers
        ):
            self._turn(1.0)
            for worker in workers:
                if worker not in self._workers and not self._ending:
                    raise SystemExit(1)  # it has said why

    def _reap(self) -> None:
        for worker, each in list(self._workers.items()):
            pid, status = os.waitpid(each.pid, os.WNOHANG)
            if pid == 0:
                continue
            with contextlib.suppress(KeyError):
                self._selector.unregister(each.channel)
            each.channel.close()
            del self._workers[worker]
            self._accepting.give_back(each.untaken)
            for question in list(self._asked):
                self._answered(question, worker)
            if self._ending or not (each.ready or self._accepting.open):
                continue
            lived_s = time.monotonic() - each.born_s
            self._failures[worker] = 0 if lived_s > STABLE_S else self._failures[worker] + 1
            pause_s = (
                min(LONGEST_PAUSE_S, PAUSE_S * 2 ** max(0, self._failures[worker] - 1)) if lived_s <= STABLE_S else 0
            )
            log.error(
                "worker %d (process %d) ended with %s; a new one starts in %.1f s",
                worker,
                pid,
                how_it_ended(status),
                pause_s,
            )
            self._replace_at_s[worker] = time.monotonic() + pause_s

    # --- one turn ---------------------------------------------------------------------------------------------------

    def _turn(self, longest_s: float) -> None:
        now_s = time.monotonic()
        times_s = [*self._replace_at_s.values(), self._kill_at_s, *([self._close_at_s] if self._close_at_s else [])]
        wait_s = min([self._accepting.wait_s(longest_s), *(max(0.0, at_s - now_s) for at_s in times_s)])
        for key, _ in self._selector.select(wait_s):
            key.data()
        now_s = time.monotonic()
        for worker, at_s in list(self._replace_at_s.items()):
            if now_s >= at_s and not self._ending:
                try:
                    self._start(worker)
                except OSError as error:  # no process or descriptor is to be had now: the others go on
                    log.error("worker %d cannot be started now: %s", worker, error)
                    self._replace_at_s[worker] = now_s + LONGEST_PAUSE_S
                else:
                    del self._replace_at_s[worker]
        self._accepting.turn()
        if self._close_at_s is not None and now_s >= self._close_at_s:
            self._close_at_s = None
            self._accepting.stop()
        if now_s >= self._kill_at_s:
            for each in self._workers.values():
                os.kill(each.pid, signal.SIGKILL)
        self._reap()

    def _signalled(self) -> None:
        with contextlib.suppress(BlockingIOError):
            for number in self._woken.recv(256):
                if number in (signal.SIGTERM, signal.SIGINT):
                    again = self._ending
                    self._ending = True
                    if self._close_at_s is None and self._accepting.open:
                        self._close_at_s = time.monotonic() + (self._drain_s if number == signal.SIGTERM else 0)
                    self._kill_at_s = min(self._kill_at_s, time.monotonic() + self._drain_s + self._grace_s + 5)
                    if again and number == signal.SIGINT:
                        self._kill_at_s = 0.0
                    self._signal_all(number)
                elif number == signal.SIGHUP:
                    self._signal_all(number)

    def _signal_all(self, number: int) -> None:
        for each in self._workers.values():
            with contextlib.suppress(ProcessLookupError):
                os.kill(each.pid, number)

    # --- connections ------------------------------------------------------------------------------------------------

    def _any_ready(self) -> bool:
        return any(each.ready for each in self._workers.values())

    def _give(self, connection: socket.socket) -> bool:
        """To the ready worker with the fewest connections; to the next if its channel is full. Whether one took it."""
        ready = (each for each in self._workers.values() if each.ready)
        for each in sorted(ready, key=lambda each: each.open):
            try:
                socket.send_fds(each.channel, [b"c"], [connection.fileno()])
            except OSError:  # its channel is full, or it is gone
                continue
            each.given += 1
            each.untaken.append(connection)
            return True
        return False

    # --- words ------------------------------------------------------------------------------------------------------

    def _heard(self, worker: int) -> None:
        each = self._workers.get(worker)
        if each is None:
            return
        while True:
            try:
                message = each.channel.recv(MESSAGE_BYTES)
            except BlockingIOError:
                return
            except OSError:
                message = b""
            if not message:  # it has ended, and will be reaped
                self._selector.unregister(each.channel)
                return
            said = msgspec.json.decode(message)
            if "ready" in said:
                each.ready, self._said = True, self._said or said["ready"]
                if self._accepting.open:
                    log.info("worker %d is ready", worker)
            elif "taken" in said:
                each.took(said["taken"])
            elif "follow" in said:
                self._ask(worker, said["follow"], said["name"])
            elif "followed" in said:
                self._answered(said["followed"], worker)

    def _ask(self, worker: int, number: int, name: str) -> None:
        """Tells the other workers to follow the alias of `name`, and `worker` when all have."""
        self._questions += 1
        others = {other for other, each in self._workers.items() if other != worker and each.ready}
        self._asked[self._questions] = (worker, number, set(others))
        for other in others:
            self._tell(other, {"follow": self._questions, "name": name})
        self._answered(self._questions, worker)

    def _answered(self, question: int, worker: int) -> None:
        asked = self._asked.get(question)
        if asked is None:
            return
        who, number, waiting = asked
        waiting.discard(worker)
        if not waiting:
            del self._asked[question]
            if who in self._workers:
                self._tell(who, {"followed": number})

    def _tell(self, worker: int, words: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):
            self._workers[worker].channel.send(msgspec.json.encode(words))
