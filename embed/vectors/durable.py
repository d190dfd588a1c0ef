"""Files that are there whole or not at all.

Written to a temporary name in the same folder, fsynced, renamed to the final name, and the folder fsynced: after a
power cut there is the old file or the new one. The temporary names start with ".tmp-", so leftovers are recognised."""

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
        self._file.flush()
        os.fsync(self._file.fileno())
        Path(self._file.name).replace(path)
        self.kept = True
        sync_folder(path.parent)


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


def sync_folder(folder: Path) -> None:
    """Makes renames and deletions in the folder durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
