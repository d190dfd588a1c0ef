"""Folders that live as long as who uses them, and are removed even when that one was killed.

Each is locked (flock) while it is in use. Whoever makes one first removes those beside it that nobody holds: their
processes have died, and with them the locks.
"""

import errno
import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PREFIX = "perwatt-scratch-"


@contextmanager
def scratch_folder(place: Path | str | None = None, prefix: str = PREFIX) -> Iterator[Path]:
    """A folder of its own in `place`, by default the one for temporary files. Raises OSError where none can be made."""
    beside = Path(tempfile.gettempdir() if place is None else place)
    sweep(each for each in beside.glob(f"{prefix}*") if _own(each))
    folder, handle = _made(beside, prefix)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(handle)


def hold(folder: Path) -> int:
    """The lock of a folder, as a descriptor that holds it until it is closed. Raises BlockingIOError when another
    process has it, FileNotFoundError when there is none, or another one by now."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not is_held(folder, handle):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(folder))
    except BaseException:
        os.close(handle)
        raise
    return handle


def is_held(folder: Path, handle: int) -> bool:
    """Whether `handle` is of the folder that is there now."""
    try:
        return os.path.samestat(os.fstat(handle), folder.stat())
    except FileNotFoundError:
        return False


def sweep(folders: Iterable[Path]) -> list[str]:
    """Removes those that nobody holds, and returns their names."""
    swept = []
    for folder in sorted(folders):
        try:
            handle = hold(folder)
        except OSError:  # held, gone, or no folder
            continue
        try:
            shutil.rmtree(folder)
            swept.append(folder.name)
        except FileNotFoundError:
            pass  # another one sweeps
        finally:
            os.close(handle)
    return swept


def _own(folder: Path) -> bool:
    """In a folder for all users, others may leave what looks like ours."""
    try:
        found = folder.lstat()
    except FileNotFoundError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()


def _made(beside: Path, prefix: str) -> tuple[Path, int]:
    while True:
        folder = Path(tempfile.mkdtemp(dir=beside, prefix=prefix))
        with suppress(BlockingIOError, FileNotFoundError):  # swept before it was held
            return folder, hold(folder)
