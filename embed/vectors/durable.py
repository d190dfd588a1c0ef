"""Files that are there whole or not at all.

Written to a temporary name in the same folder, fsynced, renamed to the final name, and the folder fsynced: after a
power cut there is the old file or the new one. The temporary names start with ".tmp-", so leftovers are recognised.

    write_atomically   a file of any package; errors of the system as they are
    write_durably      a file of a run of `embed`; errors say what it may count on
    replacing          a file of any package, written in the block of a `with`
    durable_file       the same piece by piece, for a file that is named by its content
"""

import errno
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from embed.errors import EmbedError

TEMPORARY = ".tmp-"
NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class WriteError(EmbedError):
    """A file cannot be written."""


class NoSpaceError(WriteError):
    """The disk, a quota or a file size limit does not take what is to be written."""


class DurableFile:
    """A file on its way: written piece by piece, hashed meanwhile, so that it can be named by its content."""

    closed = False  # pyarrow asks

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self.size = 0
        self.kept = False

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()

    def write(self, data: bytes | memoryview) -> int:
        self._file.write(data)
        self._hash.update(data)
        self.size += len(data)
        return len(data)

    def flush(self) -> None:
        self._file.flush()

    def keep(self, path: Path) -> None:
        """Makes it durable as `path`. Without this call it is gone when the `with` block ends."""
        _settle(self._file, Path(self._file.name), path)
        self.kept = True


@contextmanager
def durable_file(path: Path) -> Iterator[DurableFile]:
    """A file to write and then to `keep`, beside `path`, after which it is named in errors.

    Raises NoSpaceError when it does not fit, WriteError for anything else; nothing is left behind."""
    temporary, made = path.with_name(f"{TEMPORARY}{path.name}"), None
    try:
        with temporary.open("wb") as file:
            made = DurableFile(file)
            yield made
    except OSError as error:
        if error.errno not in NO_SPACE:
            raise WriteError(f"{path} cannot be written: {error.strerror}") from error
        size = made.size if made else 0
        raise NoSpaceError(
            f"no space for {path} ({size:,} bytes): {error.strerror}. What was embedded so far is kept; "
            "make room and run the same command again to go on"
        ) from error
    finally:
        if made is not None and not made.kept:
            temporary.unlink(missing_ok=True)


def write_durably(path: Path, data: bytes) -> None:
    """NoSpaceError when it does not fit, WriteError for anything else; nothing is left behind."""
    with durable_file(path) as file:
        file.write(data)
        file.keep(path)


def write_atomically(path: Path, data: bytes, mode: int = 0o666) -> None:
    """Replaces `path` in one step: a reader, or a crash, sees the old content or the new one, and nothing else is left.

    Args:
        mode: The permissions of the file, less what the umask takes away.

    Raises:
        OSError: It cannot be written.
    """
    temporary = path.with_name(f"{TEMPORARY}{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            _settle(file, temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file to write, which becomes `path` when the block ends; when it fails, what was there stays.

    Raises:
        OSError: It cannot be written.
    """
    temporary = path.with_name(f"{TEMPORARY}{path.name}")
    try:
        with temporary.open("wb") as file:
            yield file
            _settle(file, temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def sync(path: Path) -> None:
    """Forces a file's bytes, or the renames and deletions in a folder, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _settle(file: BinaryIO, temporary: Path, path: Path) -> None:
    """The open file at `temporary` becomes `path`, and stays it after a power cut."""
    file.flush()
    os.fsync(file.fileno())
    temporary.replace(path)
    sync(path.parent)
