"""The hash that everything is checked by, and what a disk that fails is said to have done.

SHA-256 through OpenSSL uses the processor's SHA instructions where they
are (about 2 GB/s a core) and releases the GIL, so the files of a generation are hashed in parallel.
"""

import errno
import hashlib
import shutil
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from index.errors import StorageError

_READ_BYTES = 1 << 20
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FAILING = {errno.EIO, errno.EMFILE, errno.ENFILE}


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


@contextmanager
def named_storage_errors(folder: Path) -> Iterator[None]:
    """Turns a full, failing or read-only disk into one sentence. FAISS reports it as a RuntimeError of its own."""
    try:
        yield
    except OSError as error:
        said = storage_failure(error, folder)
        if said is None:
            raise
        raise StorageError(f"{said}. What is served has not changed.") from error


def storage_failure(error: Exception, folder: Path = Path()) -> str | None:
    """What could not be done to which file, and what would help; None where neither disk nor rights are to blame."""
    if not isinstance(error, OSError):
        return None
    place = error.filename or folder
    if error.errno in _FULL:
        return f"cannot write {place}: {error.strerror} ({_free(folder)})"
    if error.errno == errno.EROFS:
        return f"cannot write {place}: {error.strerror}; do this where it is mounted writable"
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"cannot use {place}: {error.strerror}; do this as a user who may"
    return f"cannot use {place}: {error.strerror}" if error.errno in _FAILING else None


def _free(folder: Path) -> str:
    existing = next(parent for parent in [folder, *folder.absolute().parents] if parent.exists())
    return f"{shutil.disk_usage(existing).free / 2**20:,.0f} MiB are free"
