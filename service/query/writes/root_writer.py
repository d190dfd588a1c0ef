"""Writes of a root: one process does them, and every other worker of the service sends it its own.

The process that holds the lock on ROOT/.writer writes. It keeps the log of each index open, commits in groups
(index/changes/writer.py), and answers the other workers on a Unix socket beside the lock. When it dies, the lock is
released, and the next worker that has something to write takes over.

The lock file also names the service. A second service on the same root finds another name in it: it keeps serving
reads, follows the log like the others, and tells callers who want to write where to go.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import time
from collections.abc import Sequence

import msgspec

from index import IndexingError, Root
from index.changes import repeats
from index.changes.log import Log
from index.changes.log_file import LogClosedError, LogLockedError, Write
from index.changes.rebuild import needed_after
from index.changes.repeats import AnsweredRequest, KeyedRequest, KeyReusedError
from index.changes.writer import Full, Writer
from index.errors import StorageError
from service.query.writes.worker_socket import (
    ASKED,
    ENCODE,
    SOCKET_FILE,
    AnsweredWrite,
    AskedWrite,
    RemoteWriter,
    listen_at,
    receive,
    send,
)
from service.wire.problems import Problem

log = logging.getLogger("perwatt.service")

LOCK_FILE = ".writer"
STARTING_S = 1.0  # that a process which holds the lock may take until it can be asked; it is a millisecond's work


class _Owner(msgspec.Struct):
    """What the lock file says. service: the name that all workers of one service share, and no other service has."""

    service: str
    address: str


_OWNER = msgspec.json.Decoder(_Owner)


class _NotThereError(Exception):
    """A process holds the lock and cannot be asked yet, or any more."""


class Writing:
    """`submit` on the event loop's thread."""

    def __init__(self, root: Root, service: str, address: str) -> None:
        """
        Args:
            service: a name that this service's workers share and no other service has.
            address: of the service, told to those who ask another one to write.
        """
        self._root, self._service, self._address = root, service, address
        self._lock = -1
        self._server: asyncio.AbstractServer | None = None
        self._writers: dict[str, Writer] = {}
        self._opening = asyncio.Lock()
        self._remote: RemoteWriter | None = None

    @property
    def writes(self) -> bool:
        """Whether this process is the writer."""
        return self._lock >= 0

    @property
    def failed(self) -> int:
        """How many indexes take no more writes from this process, after a commit that failed."""
        return sum(writer.log.failure is not None for writer in list(self._writers.values()))

    async def submit(
        self, index: str, dim: int, model: str | None, writes: Sequence[Write], request: KeyedRequest | None = None
    ) -> int:
        """The seq of the last of the writes, once they are on the disk. Raises Problem.

        Args:
            request: where it came with a key; when it was written before, that seq is returned and nothing is written.
        """
        if not self.writes and self._remote is None:
            async with self._opening:
                await self._find_writer()
        remote = self._remote
        if remote is not None:
            try:
                return await remote.ask(index, dim, model, writes, request)
            except ConnectionError:
                remote.close()
                if self._remote is remote:  # else another write that was on its way has seen it too
                    self._remote = None
                raise Problem(
                    "not-ready",
                    "The process that writes has ended, and whether these writes are on the disk is not known. Send "
                    "them again, which is safe: each replaces what it may have written.",
                ) from None
        try:
            writer = await self._writer(index, dim, model)
            return await asyncio.wrap_future(writer.submit(writes, request))
        except (IndexingError, Full) as error:
            raise _problem(error) from error

    async def answered(self, index: str, request: KeyedRequest) -> AnsweredRequest | None:
        """What the request was answered before, whichever worker wrote it. Raises Problem."""
        try:
            return await asyncio.to_thread(repeats.answered, self._root.folder / index, request)
        except IndexingError as error:
            raise _problem(error) from error

    def trim(self) -> None:
        """Drops changes that every generation on disk already holds. It reads manifests, so it must not run on the
        event loop's thread."""
        for index, writer in list(self._writers.items()):
            try:
                needed = needed_after(self._root, index)
            except IndexingError as error:
                log.warning("the changes of %s stay as they are: %s", index, error)
                continue
            if needed.log == writer.log.id:
                writer.trim(needed.seq)

    def close(self) -> None:
        if self._remote is not None:
            self._remote.close()
        if self._server is not None:
            self._server.close()
        for writer in self._writers.values():
            writer.close()
        self._writers.clear()
        if self._lock >= 0:
            with contextlib.suppress(OSError):
                (self._root.folder / SOCKET_FILE).unlink()
            os.close(self._lock)
            self._lock = -1

    async def _find_writer(self) -> None:
        """Becomes the writer, or connects to the process that is. Waits for one that is starting or ending."""
        limit_s = time.monotonic() + STARTING_S
        while not self.writes and self._remote is None:
            try:
                await self._take_or_connect()
            except _NotThereError as error:
                if time.monotonic() >= limit_s:
                    why = f"The process that writes is starting or ending ({error}); try again."
                    raise Problem("not-ready", why) from None
                await asyncio.sleep(0.005)

    async def _take_or_connect(self) -> None:
        path = self._root.folder / LOCK_FILE
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise _unwritable(self._root, error) from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            try:
                self._remote = await self._connect(os.pread(handle, 4096, 0))
            finally:
                os.close(handle)
            return
        try:
            os.ftruncate(handle, 0)
            os.pwrite(handle, msgspec.json.encode(_Owner(self._service, self._address)), 0)
            self._server = await asyncio.start_unix_server(self._serve, sock=listen_at(self._root.folder))
        except BaseException as error:  # nobody else could write as long as this process has the lock
            os.close(handle)
            if isinstance(error, OSError):
                raise _unwritable(self._root, error) from error
            raise
        self._lock = handle
        log.info("process %d writes the changes under %s", os.getpid(), self._root.folder)

    async def _connect(self, said: bytes) -> RemoteWriter:
        try:
            owner = _OWNER.decode(said)
        except msgspec.DecodeError:  # between its lock and its name
            raise _NotThereError("it has not said its name") from None
        if owner.service != self._service:
            raise Problem(
                "not-ready",
                f"Another service writes this index: send writes to {owner.address or 'it'}. Reads are answered here.",
                writer=owner.address,
            )
        try:
            return await RemoteWriter.connect(self._root.folder)
        except OSError as error:
            raise _NotThereError(str(error)) from None

    async def _writer(self, index: str, dim: int, model: str | None) -> Writer:
        writer = self._writers.get(index)
        if writer is not None and (writer.log.dim, writer.log.model) == (dim, model):
            return writer
        # To its end, whoever stops waiting: what it opens is locked, and belongs to this process from then on.
        return await asyncio.shield(self._opened(index, dim, model))

    async def _opened(self, index: str, dim: int, model: str | None) -> Writer:
        async with self._opening:
            writer = self._writers.get(index)
            if writer is not None and (writer.log.dim, writer.log.model) != (dim, model):
                await asyncio.to_thread(self._writers.pop(index).close)  # another model was switched to
                writer = None
            if writer is None:
                opened = await asyncio.to_thread(Log, self._root.folder / index, dim, model)
                writer = self._writers[index] = Writer(opened)
            return writer

    async def _serve(self, reader: asyncio.StreamReader, stream: asyncio.StreamWriter) -> None:
        """Answers one worker of this service until it goes away; its writes share transactions."""
        answering: set[asyncio.Task[None]] = set()
        try:
            while True:
                asked = ASKED.decode(await receive(reader))
                task = asyncio.create_task(self._answer(asked, stream))
                answering.add(task)
                task.add_done_callback(answering.discard)
        except (asyncio.IncompleteReadError, ConnectionError, msgspec.DecodeError):
            pass
        except asyncio.CancelledError:  # this process ends; asyncio's streams would log it as an error
            pass
        finally:
            stream.close()

    async def _answer(self, asked: AskedWrite, stream: asyncio.StreamWriter) -> None:
        try:
            seq = await self.submit(asked.index, asked.dim, asked.model, asked.writes, asked.request)
            answer = AnsweredWrite(asked.number, seq)
        except Problem as problem:
            answer = AnsweredWrite(asked.number, problem=(problem.code, problem.detail))
        with contextlib.suppress(ConnectionError):
            send(stream, ENCODE(answer))


def _unwritable(root: Root, error: OSError) -> Problem:
    return Problem("not-ready", f"This service cannot write under {root.folder}: {error.strerror}.")


def _problem(error: Exception) -> Problem:
    if isinstance(error, Full):
        return Problem("overloaded", f"{error}; try again.")
    if isinstance(error, KeyReusedError):
        return Problem("precondition-failed", f"{error}")
    if isinstance(error, LogClosedError | StorageError):
        return Problem("not-ready", f"{error}")
    if isinstance(error, LogLockedError):
        return Problem("not-ready", f"{error}; writes of this service go there.")
    return Problem("internal", f"The changes cannot be written: {error}")
