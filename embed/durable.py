"""Files that are there whole or not at all.

Written to a temporary name in the same folder, fsynced, renamed over the final name, and the folder
fsynced: after a power cut there is the old file or the new one. The temporary names start with
".tmp-", so leftovers are recognised."""

import errno
import os
from pathlib import Path

from embed.errors import EmbedError

TEMPORARY = ".tmp-"
NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class WriteError(EmbedError):
    """A file cannot be written."""


class NoSpaceError(WriteError):
    """The disk, a quota or a file size limit does not take what is to be written."""


def write_durably(path: Path, data: bytes | memoryview) -> None:
    """NoSpaceError when it does not fit, WriteError for anything else; nothing is left behind."""
    temporary = path.with_name(f"{TEMPORARY}{path.name}")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        if error.errno not in NO_SPACE:
            raise WriteError(f"{path} cannot be written: {error.strerror}") from error
        raise NoSpaceError(
            f"no space for {path} ({len(data):,} bytes): {error.strerror}. What was embedded so far is kept; "
            "make room and run the same command again to go on"
        ) from error


def sync_folder(folder: Path) -> None:
    """Makes renames and deletions in the folder durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
