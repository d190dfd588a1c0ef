"""Files that are whole or not there: written under another name, forced to the disk, then renamed.

Also the hash that everything is checked by. SHA-256 through OpenSSL uses the processor's SHA instructions where they
are (about 2 GB/s a core) and releases the GIL, so the files of a generation are hashed in parallel.
"""

import hashlib
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

_READ_BYTES = 1 << 20


class Digest(NamedTuple):
    bytes: int
    sha256: str


def digest(path: Path) -> Digest:
    """Size and SHA-256 of a file, read once."""
    state, size = hashlib.sha256(), 0
    buffer = bytearray(_READ_BYTES)
    view = memoryview(buffer)
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            state.update(view[:count])
            size += count
    return Digest(size, state.hexdigest())


def digests(paths: Iterable[Path], threads: int) -> list[Digest]:
    """Digests in the order of `paths`."""
    with ThreadPoolExecutor(max(1, threads)) as pool:
        return list(pool.map(digest, paths))


def sync(path: Path) -> None:
    """Forces a file's bytes, or a folder's entries, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_atomically(path: Path, content: bytes) -> None:
    """Replaces `path` in one step: a reader, or a crash, sees the old content or the new one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync(path.parent)
