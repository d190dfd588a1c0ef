"""How a worker's writes reach the process that does them: frames on a Unix socket beside the lock.

A worker that loses the writer in the middle of a write cannot know whether it was done, and says so; sending it again
is safe.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import msgspec

from index.changes.log_file import Write
from index.changes.repeats import KeyedRequest
from service.wire.problems import Problem

SOCKET_FILE = ".writer.sock"
LONGEST_FRAME = 64 << 20
_SIZE = struct.Struct("<I")


class AskedWrite(msgspec.Struct, array_like=True):
    number: int
    index: str
    dim: int
    model: str | None
    writes: list[Write]
    request: KeyedRequest | None = None


class AnsweredWrite(msgspec.Struct, array_like=True):
    """problem: code and detail, instead of a seq."""

    number: int
    seq: int = 0
    problem: tuple[str, str] | None = None


ENCODE = msgspec.msgpack.Encoder().encode
ASKED, ANSWERED = msgspec.msgpack.Decoder(AskedWrite), msgspec.msgpack.Decoder(AnsweredWrite)


class RemoteWriter:
    """A connection to the process that writes."""

    def __init__(self, reader: asyncio.StreamReader, stream: asyncio.StreamWriter) -> None:
        self._stream = stream
        self._waiting: dict[int, Future[int]] = {}
        self._number = 0
        self._listening = asyncio.create_task(self._listen(reader))

    @classmethod
    async def connect(cls, folder: Path) -> RemoteWriter:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.setblocking(False)
        try:
            with _short_path(folder) as path:
                connection.connect(path)
        except OSError:
            connection.close()
            raise
        return cls(*await asyncio.open_unix_connection(sock=connection))

    async def ask(
        self, index: str, dim: int, model: str | None, writes: Sequence[Write], request: KeyedRequest | None
    ) -> int:
        """Raises ConnectionError when the writer goes away before it has answered."""
        if self._listening.done():
            raise ConnectionResetError
        self._number += 1
        answer: Future[int] = Future()
        self._waiting[self._number] = answer
        asked = AskedWrite(self._number, index, dim, model, list(writes), request)
        send(self._stream, ENCODE(asked))
        return await asyncio.wrap_future(answer)

    def close(self) -> None:
        self._listening.cancel()
        self._stream.close()

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        try:
            while True:
                answered = ANSWERED.decode(await receive(reader))
                waiting = self._waiting.pop(answered.number)
                if waiting.cancelled():
                    continue
                if answered.problem is None:
                    waiting.set_result(answered.seq)
                else:
                    waiting.set_exception(Problem(*answered.problem))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            for waiting in self._waiting.values():
                if not waiting.done():
                    waiting.set_exception(ConnectionResetError())
            self._waiting.clear()


def send(stream: asyncio.StreamWriter, content: bytes) -> None:
    """Raises ConnectionResetError where the other end is known to be gone; uvloop's own error would be another."""
    if stream.is_closing():
        raise ConnectionResetError
    stream.write(_SIZE.pack(len(content)) + content)


async def receive(reader: asyncio.StreamReader) -> bytes:
    (size,) = _SIZE.unpack(await reader.readexactly(_SIZE.size))
    if size > LONGEST_FRAME:
        raise ConnectionAbortedError(f"a frame of {size:,} bytes")
    return await reader.readexactly(size)


def listen_at(folder: Path) -> socket.socket:
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with contextlib.suppress(FileNotFoundError):
        (folder / SOCKET_FILE).unlink()  # of a writer that died
    before = os.umask(0o177)  # for this user alone
    try:
        with _short_path(folder) as path:
            listening.bind(path)
    finally:
        os.umask(before)
    listening.listen(64)
    listening.setblocking(False)
    return listening


@contextlib.contextmanager
def _short_path(folder: Path) -> Any:
    """The socket's path in some 30 characters: the system takes 107, and folders may be longer."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        short = f"/proc/self/fd/{handle}/{SOCKET_FILE}"
        yield short if Path("/proc/self/fd").exists() else str(folder / SOCKET_FILE)
    finally:
        os.close(handle)
