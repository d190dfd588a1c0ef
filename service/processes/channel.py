"""A worker's end of the channel to its parent: connections come down it, messages go both ways (`supervisor.py`)."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import socket
from collections.abc import Awaitable, Callable

import msgspec

from service.processes.worker import MESSAGE_BYTES

log = logging.getLogger("perwatt.service")

AT_ONCE = 16  # messages in one turn of the loop; a connection takes some 60 µs, and requests wait meanwhile
FOLLOW_S = 60.0  # until the others are not waited for any longer: they are told all the same


class Channel:
    """Belongs to one event loop.

    Args:
        make: of a protocol, for each connection.
        lost: called for one that ended before it had a protocol.
        follow: the alias of a name, on disk.
        orphaned: called when the parent is gone.
    """

    def __init__(
        self,
        sock: socket.socket,
        make: Callable[[], asyncio.Protocol],
        lost: Callable[[], None],
        follow: Callable[[str], Awaitable[object]],
        orphaned: Callable[[], None],
    ) -> None:
        self._sock = sock
        self._make = make
        self._lost = lost
        self._follow = follow
        self._orphaned = orphaned
        self._numbers = itertools.count()
        self._asked: dict[int, asyncio.Future[None]] = {}
        self._tasks: set[asyncio.Task[object]] = set()
        self._taken = 0  # connections
        self._loop = asyncio.get_running_loop()
        sock.setblocking(False)
        self._loop.add_reader(sock.fileno(), self._read)

    def ready(self, said: str) -> None:
        self._send({"ready": said})

    async def tell_others(self, name: str) -> None:
        """Returns when the other workers have followed the alias of `name`, or have refused to and logged it."""
        number = next(self._numbers)
        self._asked[number] = future = self._loop.create_future()
        self._send({"follow": number, "name": name})
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FOLLOW_S):
                await future
        self._asked.pop(number, None)

    def close(self) -> None:
        self._loop.remove_reader(self._sock.fileno())

    def _read(self) -> None:
        before = self._taken
        for _ in range(AT_ONCE):
            try:
                message, descriptors, _, _ = socket.recv_fds(self._sock, MESSAGE_BYTES, 1)
            except BlockingIOError:
                break
            except OSError:
                message, descriptors = b"", []
            if not message:
                self.close()
                self._orphaned()
                return
            if descriptors:
                self._taken += 1
                self._keep(self._take(descriptors[0]))
                continue
            said = msgspec.json.decode(message)
            if "follow" in said:
                self._keep(self._follow_and_say(said["follow"], said["name"]))
            elif "followed" in said:
                future = self._asked.pop(said["followed"], None)
                if future is not None and not future.done():
                    future.set_result(None)
        if self._taken > before:  # said before anything is read from them: what is not taken yet goes to another worker
            self._send({"taken": self._taken})

    async def _take(self, descriptor: int) -> None:
        connection = socket.socket(fileno=descriptor)
        connection.setblocking(False)
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await self._loop.connect_accepted_socket(self._make, connection)
        except OSError:  # it was gone before it was taken
            connection.close()
            self._lost()

    async def _follow_and_say(self, number: int, name: str) -> None:
        try:
            await self._follow(name)
        except Exception as error:
            log.warning("%s could not be followed: %s", name, error)
        finally:
            self._send({"followed": number})

    def _keep(self, work: Awaitable[object]) -> None:
        task: asyncio.Task[object] = self._loop.create_task(work)  # type: ignore[arg-type]
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _send(self, words: dict[str, object]) -> None:
        with contextlib.suppress(OSError):  # a parent that is gone is noticed when reading
            self._sock.send(msgspec.json.encode(words))
