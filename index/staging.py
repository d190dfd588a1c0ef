"""Where a generation lies until it is finished: a folder next to the finished ones, locked by its build.

The lock is on the folder itself, so it dies with the process, whatever killed it, and a later build can tell a folder
that is being built from one that never will be. Process ids would not do: containers reuse them.
"""

import errno
import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from index.errors import StorageError
from index.files import sync
from index.root import BUILDING_PREFIX, Root

_STORAGE_ERRORS = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EIO,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.EMFILE,
    errno.ENFILE,
}


@contextmanager
def staging(root: Root, name: str) -> Iterator[tuple[Path, str, datetime]]:
    """A folder to build in, the id of the generation that it will be, and its time of creation.

    The folder is gone afterwards unless it was published. What dead builds left is removed first.
    """
    with named_storage_errors(root.folder):
        with root.locked(name, create=True) as folder:
            root.sweep(folder)
            generation, created_at = _new_id(name, folder)
            path = folder / f"{BUILDING_PREFIX}{generation}"
            path.mkdir()
            lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            yield path, generation, created_at
        finally:
            shutil.rmtree(path, ignore_errors=True)
            os.close(lock)


def _new_id(name: str, folder: Path) -> tuple[str, datetime]:
    """<name>-<second>-<4 hex digits of its fraction>: ids sort as they were made, and no two builds have the same."""
    while True:
        now = datetime.now(UTC)
        generation = f"{name}-{now:%Y%m%dT%H%M%SZ}-{now.microsecond * 65536 // 1_000_000:04x}"
        if not (folder / generation).exists() and not (folder / f"{BUILDING_PREFIX}{generation}").exists():
            return generation, now
        time.sleep(1e-4)


def publish(root: Root, name: str, generation: str, path: Path) -> Path:
    """Makes a finished folder a generation: everything on the disk first, then its name."""
    for entry in [*path.rglob("*"), path]:
        sync(entry)
    with root.locked(name) as folder:
        final = folder / generation
        path.rename(final)
        sync(folder)
    return final


@contextmanager
def named_storage_errors(folder: Path) -> Iterator[None]:
    """Turns a full or failing disk into one sentence. FAISS reports it as a RuntimeError of its own."""
    try:
        yield
    except OSError as error:
        if error.errno not in _STORAGE_ERRORS:
            raise
        place = error.filename or folder
        raise StorageError(
            f"cannot write {place}: {error.strerror} ({_free(folder)}). What is served has not changed."
        ) from error


def _free(folder: Path) -> str:
    existing = next(parent for parent in [folder, *folder.absolute().parents] if parent.exists())
    return f"{shutil.disk_usage(existing).free / 2**20:,.0f} MiB are free"
