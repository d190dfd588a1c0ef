"""Parts of a draft in files of a shared folder, for any machine to do that has perwatt and nothing else of the build.

    FOLDER/draft-…/alive         touched by the build that made it
                  /00007.parcel  parts, with the codes of their rows
                  /00007.taken   somebody does them
                  /00007.reply   whom their rows met

A build puts out a few parcels more than are taken, and does others itself meanwhile, without files. What is taken and
does not come back in time, or comes back damaged, it does again. So whoever helps may come late, leave or die: the
links are the same. index/kernels/parcel.hpp has the bytes.
"""

import os
import shutil
import tempfile
import time
from collections import deque
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from index.errors import InputError, StorageError
from index.kernels import _native
from index.progress import say

MEMBERS = 1 << 16  # of a parcel, about: 35 MB of 384 dimensions
_PREFIX, _ALIVE = "draft-", "alive"
_PARCEL, _TAKEN, _REPLY = ".parcel", ".taken", ".reply"
_SPARE = 4  # parcels that nobody has taken yet, and as many more as are taken
_LOOK_S = 0.05
_PATIENCE_S, _PATIENT = 10.0, 4  # at least, and so many times as long as a parcel took here
_LEFT_S = 3600.0  # without a sign of life; then a draft is that of a build that was killed


class SharedParts:
    """The parcels of one draft. `elsewhere` counts those that others did."""

    def __init__(self, folder: Path, threads: int, *, patience_s: float = _PATIENCE_S) -> None:
        self._folder, self._threads, self._patience_s = folder, threads, patience_s
        self.elsewhere = self.count = 0

    def meet(self, draft: _native.Draft, done: NDArray[np.uint64]) -> None:
        """Has all parts of a draft met. done: grows as its `meet` has it. Raises StorageError where the folder cannot
        be written."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            _remove_left(self._folder)
            place = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=self._folder))
            place.chmod(0o777 & ~_umask())
        except OSError as error:
            raise StorageError(f"{self._folder} cannot be written: {error.strerror}") from error
        try:
            self._meet(draft, done, place)
        except OSError as error:
            raise StorageError(f"{place} cannot be written: {error.strerror}") from error
        finally:
            shutil.rmtree(place, ignore_errors=True)

    def _meet(self, draft: _native.Draft, done: NDArray[np.uint64], place: Path) -> None:
        starts = draft.starts
        left = deque(parcels(starts, MEMBERS))
        self.count += len(left)
        out: list[_Out] = []
        longest_s = 0.0

        def at_home(first: int, last: int) -> None:
            nonlocal longest_s
            start_s = time.monotonic()
            draft.meet(first, last, self._threads, done)
            longest_s = max(longest_s, time.monotonic() - start_s)

        while left or out:
            (place / _ALIVE).touch()
            for each in [each for each in out if each.reply.exists()]:
                out.remove(each)
                if each.come_back(draft):
                    self.elsewhere += 1
                    done += np.uint64(starts[each.last] - starts[each.first])
                else:
                    at_home(each.first, each.last)
            taken = sum(each.is_taken() for each in out)
            while left and len(out) - taken < _SPARE + taken:
                out.append(_Out(place, draft, *left.popleft()))
            if left:
                at_home(*left.pop())
            elif mine := next((each for each in out if each.take()), None):
                out.remove(mine)
                at_home(mine.first, mine.last)
                mine.remove()
            elif late := next((each for each in out if each.waited_s() > self._patience(longest_s)), None):
                out.remove(late)
                at_home(late.first, late.last)
                late.remove()
            elif out:
                time.sleep(_LOOK_S)

    def _patience(self, longest_s: float) -> float:
        return max(self._patience_s, _PATIENT * longest_s)


class _Out:
    """A parcel that others may do: parts from first to last."""

    def __init__(self, place: Path, draft: _native.Draft, first: int, last: int) -> None:
        self.first, self.last = first, last
        self._parcel = place / f"{first:05}{_PARCEL}"
        self._taken, self.reply = self._parcel.with_suffix(_TAKEN), self._parcel.with_suffix(_REPLY)
        self._taken_s: float | None = None
        bytes_ = draft.parcel(first, last)
        self._hash = _native.parcel_hash(np.frombuffer(bytes_, np.uint8))
        _put(self._parcel, bytes_)

    def is_taken(self) -> bool:
        if self._taken_s is None and self._taken.exists():
            self._taken_s = time.monotonic()
        return self._taken_s is not None

    def waited_s(self) -> float:
        return 0.0 if self._taken_s is None else time.monotonic() - self._taken_s

    def take(self) -> bool:
        """For the one who put it out."""
        return not self.is_taken() and _take(self._taken)

    def come_back(self, draft: _native.Draft) -> bool:
        """Adds the reply to the draft; False if it is none."""
        try:
            draft.take(self.first, self.last, self._hash, np.fromfile(self.reply, np.uint8))
        except (ValueError, OSError):
            return False
        finally:
            self.remove()
        return True

    def remove(self) -> None:
        for path in (self._parcel, self._taken, self.reply):
            path.unlink(missing_ok=True)


def parcels(starts: list[int], members: int) -> list[tuple[int, int]]:
    """First and last part of each parcel: so many that they have about `members` members."""
    found, first = [], 0
    for part in range(1, len(starts)):
        if starts[part] - starts[first] >= members or part == len(starts) - 1:
            found.append((first, part))
            first = part
    return found


def help_drafts(folder: Path, threads: int, idle_s: float, *, show: bool = True) -> int:
    """Does parcels of the drafts in a folder until none has come for idle_s seconds; returns how many.

    Raises InputError where it cannot be read, StorageError where it cannot be written.
    """
    count, latest = 0, time.monotonic()
    while True:
        parcel = _next_of(folder)
        if parcel is None:
            if time.monotonic() - latest > idle_s:
                return count
            time.sleep(_LOOK_S)
            continue
        if _done(parcel, threads):
            count += 1
            say(f"{parcel.parent.name}: {count:,} done", show=show)
        latest = time.monotonic()


def _next_of(folder: Path) -> Path | None:
    """A parcel, taken from now on."""
    try:
        drafts = sorted(each for each in folder.iterdir() if each.name.startswith(_PREFIX))
    except FileNotFoundError:
        return None  # no build has begun
    except OSError as error:
        raise InputError(f"{folder} cannot be read: {error.strerror}") from error
    for draft in drafts:
        for parcel in sorted(draft.glob(f"[0-9]*{_PARCEL}")):
            if not parcel.with_suffix(_TAKEN).exists() and _take(parcel.with_suffix(_TAKEN)):
                return parcel
    return None


def _done(parcel: Path, threads: int) -> bool:
    """Whether it was; where the build went on without, or the parcel is damaged, there is nothing to do."""
    try:
        reply = _native.reply_to(np.fromfile(parcel, np.uint8), threads)
        _put(parcel.with_suffix(_REPLY), reply)
    except FileNotFoundError:
        return False
    except ValueError as error:
        say(f"{parcel}: {error}; it is left to the build")
        return False
    except OSError as error:
        raise StorageError(f"{parcel.parent} cannot be written: {error.strerror}") from error
    return True


def _take(path: Path) -> bool:
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    except OSError:
        return False
    return True


def _put(path: Path, data: bytes) -> None:
    """There whole or not at all; after a power cut nobody wants it."""
    temporary = path.with_name(f".{path.name}")
    temporary.write_bytes(data)
    temporary.rename(path)


def _remove_left(folder: Path) -> None:
    for draft in folder.glob(f"{_PREFIX}*"):
        alive = draft / _ALIVE
        if alive.exists() and time.time() - alive.stat().st_mtime > _LEFT_S:
            shutil.rmtree(draft, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
