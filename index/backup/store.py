"""Where backups are kept: names to bytes, in a folder or in a store of objects.

A store only puts, gets and lists. What is put is there whole and durable when the call returns, or not at all.
"""

import os
import secrets
import stat
import time
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from embed.vectors.durable import TEMPORARY, sync
from index.errors import BackupError

_ABANDONED_S = 24 * 3600.0  # after that nobody is still writing a piece


class MissingError(BackupError):
    """There is nothing of that name in the store."""


class Store(Protocol):
    where: str  # its address, for messages; without credentials

    def sizes(self, folder: str) -> dict[str, int]:
        """What lies directly in `folder`: names and their bytes. Empty where there is no such folder."""

    def put(self, name: str, content: bytes) -> None:
        """Replaces what has that name."""

    def create(self, name: str, content: bytes) -> bool:
        """Puts it where nothing has that name yet; else returns False, and what is there stays. Of two at once, one
        does."""

    def get(self, name: str, most: int) -> bytes:
        """Raises MissingError, and BackupError for something of more than `most` bytes, which is not read."""


class FolderStore:
    """A folder, on a disk or a mounted share."""

    def __init__(self, folder: Path) -> None:
        self._folder, self.where = folder, str(folder)

    def sizes(self, folder: str) -> dict[str, int]:
        place = self._folder / folder
        if not place.is_dir():
            return {}
        found = {}
        with os.scandir(place) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):  # another push has just given it its name
                    found[entry.name] = entry.stat(follow_symlinks=False)
        _remove_abandoned(place, found)
        return {
            name: status.st_size
            for name, status in found.items()
            if stat.S_ISREG(status.st_mode) and not name.startswith(TEMPORARY)
        }

    def put(self, name: str, content: bytes) -> None:
        self._put(self._folder / name, content, replace=True)

    def create(self, name: str, content: bytes) -> bool:
        return self._put(self._folder / name, content, replace=False)

    def _put(self, path: Path, content: bytes, replace: bool) -> bool:
        try:
            return self._written(path, content, replace)
        except OSError as error:
            raise BackupError(
                f"{path} cannot be written: {error.strerror}. What is there stays, and the same push goes on from it"
            ) from error

    def _written(self, path: Path, content: bytes, replace: bool) -> bool:
        for parent in _made(path.parent):
            sync(parent.parent)
        # A name that no other process has, on whatever machine: a share is written to by several.
        temporary = path.with_name(f"{TEMPORARY}{secrets.token_hex(8)}")
        try:
            with temporary.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            if replace:
                temporary.replace(path)
            else:
                path.hardlink_to(temporary)
        except FileExistsError:
            if replace or not path.exists():
                raise
            return False
        finally:
            temporary.unlink(missing_ok=True)
        sync(path.parent)
        return True

    def get(self, name: str, most: int) -> bytes:
        path = self._folder / name
        try:
            handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            raise MissingError(f"{path} is missing") from None
        except OSError as error:
            raise BackupError(f"{path} cannot be read: {error.strerror}") from error
        try:
            status = os.fstat(handle)
            if not stat.S_ISREG(status.st_mode):
                raise BackupError(f"{path} is not a regular file")
            if status.st_size > most:
                raise too_large(str(path), status.st_size, most)
            with os.fdopen(handle, "rb", closefd=False) as file:
                return file.read(most)
        finally:
            os.close(handle)


class StoreFolder:
    """A folder of a store, as a store."""

    def __init__(self, store: Store, folder: str) -> None:
        self._store, self._folder = store, folder
        self.where = f"{store.where}/{folder}"

    def sizes(self, folder: str) -> dict[str, int]:
        return self._store.sizes(f"{self._folder}/{folder}")

    def put(self, name: str, content: bytes) -> None:
        self._store.put(f"{self._folder}/{name}", content)

    def create(self, name: str, content: bytes) -> bool:
        return self._store.create(f"{self._folder}/{name}", content)

    def get(self, name: str, most: int) -> bytes:
        return self._store.get(f"{self._folder}/{name}", most)


def too_large(what: str, size: int, most: int) -> BackupError:
    return BackupError(f"{what} has {size:,} bytes, and {most:,} were expected at most; nothing of it was read")


def _made(folder: Path) -> list[Path]:
    """Makes a folder and those above it; returns the ones that were not there."""
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    return missing


def _remove_abandoned(place: Path, found: dict[str, os.stat_result]) -> None:
    """What pushes that were killed left of pieces half written."""
    for name, status in found.items():
        if name.startswith(TEMPORARY) and time.time() - status.st_mtime > _ABANDONED_S:
            with suppress(OSError):
                (place / name).unlink()
