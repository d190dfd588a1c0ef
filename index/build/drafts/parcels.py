"""Parts of a draft in files of a shared folder, for any machine to do that has perwatt and nothing else of the build.

    FOLDER/draft-…/alive         touched by the build that made it
                  /00007.parcel  parts, with the codes of their rows
                  /00007.taken   somebody does them
                  /00007.reply   whom their rows met

A build puts out a few parcels more than are taken, and does others itself meanwhile, without files. What is taken and
does not come back in time, or comes back damaged, it does again. So whoever helps may come late, leave or die: the
links are the same. index/kernels/parcel.hpp has the bytes.
"""

import errno
import os
import secrets
import shutil
import tempfile
import threading
import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import suppress
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
_LARGE = 4  # times MEMBERS, or times what a part has; a parcel of more is not put out
_LEFT_S = 3600.0  # without a sign of life; then a draft is that of a build that was killed


def require_shared(folder: Path) -> None:
    """Makes the folder where it is not there. Raises StorageError where it cannot be written to."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise StorageError(f"{folder} cannot be written: {error.strerror}") from error


class SharedParts:
    """The parcels of one draft. `elsewhere` counts those that others did."""

    def __init__(self, folder: Path, threads: int, *, patience_s: float = _PATIENCE_S) -> None:
        self._folder, self._threads, self._patience_s = folder, threads, patience_s
        self.elsewhere = self.count = 0

    def meet(self, draft: _native.Draft, done: NDArray[np.uint64]) -> None:
        """Has all parts of a draft met. done: grows as its `meet` has it. Raises StorageError where the folder cannot
        be written."""
        place = self._folder / f"{_PREFIX}{secrets.token_hex(4)}"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            place.mkdir()
            _remove_left(self._folder, place.stat().st_mtime)
            run = _Run(draft, done, place, self._patience_s)
            self.count += len(run.left) + len(run.large)
            with ThreadPoolExecutor(self._threads) as pool:
                try:
                    _all_of([pool.submit(run.work) for _ in range(self._threads)])
                finally:
                    run.stopped = True  # each ends with what it does
            self.elsewhere += run.elsewhere
        except OSError as error:
            raise StorageError(f"{self._folder} cannot be written: {error.strerror}") from error
        finally:
            for _ in range(3):  # a helper may write its last file while it is removed
                shutil.rmtree(place, ignore_errors=True)


class _Run:
    """What is left to do at home, and what is out. `work` is every thread's: a parcel is done by one."""

    def __init__(self, draft: _native.Draft, done: NDArray[np.uint64], place: Path, patience_s: float) -> None:
        self._draft, self._done, self._place, self._patience_s = draft, done, place, patience_s
        starts = draft.starts
        self.left: deque[tuple[int, int]] = deque()
        self.large: deque[tuple[int, int]] = deque()  # parts of many rows that are alike, for who has those rows
        most = _LARGE * max(MEMBERS, starts[-1] // (len(starts) - 1))
        for parts in parcels(starts, MEMBERS):
            (self.left if starts[parts[1]] - starts[parts[0]] <= most else self.large).append(parts)
        self._out: list[_Out] = []
        self._lock = threading.Lock()
        self._longest_s = 0.0
        self.elsewhere, self.stopped = 0, False

    def work(self) -> None:
        while not self.stopped:
            with self._lock:
                if not self.left and not self._out and not self.large:
                    return
                parts = self._next()
            if parts is None:
                time.sleep(_LOOK_S)
                continue
            start_s = time.monotonic()
            self._draft.meet(*parts, 1, self._done)
            self._longest_s = max(self._longest_s, time.monotonic() - start_s)

    def _next(self) -> tuple[int, int] | None:
        """First and last part to do here; None where all are with others."""
        (self._place / _ALIVE).touch()
        for each in [each for each in self._out if each.reply.exists()]:
            self._out.remove(each)
            if not each.come_back(self._draft, self._done):
                return each.first, each.last
            self.elsewhere += 1
        patience_s = max(self._patience_s, _PATIENT * self._longest_s)
        if (late := next((each for each in self._out if each.waited_s() > patience_s), None)) is not None:
            return self._back(late)
        taken = sum(each.is_taken() for each in self._out)
        most = min(_SPARE + 2 * taken, 2 * (_SPARE + self.elsewhere))  # who never answers does not get ever more
        while self.left and len(self._out) < most:
            self._out.append(_Out(self._place, self._draft, *self.left[0]))
            self.left.popleft()
        if self.left or self.large:
            return self.left.pop() if self.left else self.large.pop()
        free = next((each for each in self._out if each.take()), None)
        return None if free is None else self._back(free)

    def _back(self, out: "_Out") -> tuple[int, int]:
        self._out.remove(out)
        out.remove()
        return out.first, out.last


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

    def come_back(self, draft: _native.Draft, done: NDArray[np.uint64]) -> bool:
        """Adds the reply to the draft; False if it is none."""
        try:
            draft.take(self.first, self.last, self._hash, np.fromfile(self.reply, np.uint8), done)
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


class Helper:
    """Does parcels of the drafts in a folder, each on one thread, until none has come for idle_s seconds.

    `work` raises InputError where the folder cannot be read, StorageError where it cannot be written.
    """

    def __init__(self, folder: Path, idle_s: float, *, show: bool = True) -> None:
        self._folder, self._idle_s, self._show = folder, idle_s, show
        self._lock = threading.Lock()
        self._busy, self._latest_s = 0, time.monotonic()
        self._stopped = False
        self.done = 0

    def work(self, threads: int) -> int:
        """Returns how many were done."""
        there = "" if self._folder.exists() else ", which is not there yet"
        say(f"waiting for builds that put parcels into {self._folder}{there}", show=self._show)
        with ThreadPoolExecutor(threads) as pool:
            try:
                _all_of([pool.submit(self._work) for _ in range(threads)])
            finally:
                self._stopped = True  # each ends with what it does
        return self.done

    def _work(self) -> None:
        while not self._stopped:
            with self._lock:
                parcel = _next_of(self._folder)
                if parcel is None and not self._busy and time.monotonic() - self._latest_s > self._idle_s:
                    return
                self._busy += parcel is not None
            if parcel is None:
                time.sleep(_LOOK_S)
                continue
            try:
                done = _done(parcel)
            finally:
                with self._lock:
                    self._busy -= 1
                    self._latest_s = time.monotonic()
            with self._lock:
                self.done += done
                if done:
                    say(f"{parcel.parent.name}: {self.done:,} done", show=self._show)


def _all_of(futures: list[Future[None]]) -> None:
    for each in as_completed(futures):
        each.result()


def _next_of(folder: Path) -> Path | None:
    """A parcel, taken from now on."""
    try:
        drafts = sorted(each for each in folder.iterdir() if each.name.startswith(_PREFIX))
    except FileNotFoundError:
        return None  # no build has begun
    except OSError as error:
        raise InputError(f"{folder} cannot be read: {error.strerror}") from error
    for draft in drafts:
        try:
            for parcel in sorted(draft.glob(f"[0-9]*{_PARCEL}")):
                if not parcel.with_suffix(_TAKEN).exists() and _take(parcel.with_suffix(_TAKEN)):
                    return parcel
        except OSError as error:
            if not _is_gone(draft, error):  # its build is done
                raise StorageError(f"{draft} cannot be written: {error.strerror}") from error
    return None


def _done(parcel: Path) -> bool:
    """Whether it was; where the build went on without, or the parcel is damaged, there is nothing to do."""
    try:
        reply = _native.reply_to(np.fromfile(parcel, np.uint8))
        if not parcel.exists():  # the build has done it itself, and nobody will read a reply
            return False
        _put(parcel.with_suffix(_REPLY), reply)
    except ValueError as error:
        say(f"{parcel}: {error}; it is left to the build")
        return False
    except OSError as error:
        if _is_gone(parcel, error):
            return False
        raise StorageError(f"{parcel.parent} cannot be written: {error.strerror}") from error
    return True


def _is_gone(path: Path, error: OSError) -> bool:
    """Whether a build removed it meanwhile; a file server may then say that what is written is stale."""
    return error.errno in (errno.ENOENT, errno.ESTALE) or not os.path.exists(path)  # noqa: PTH110, which raises here, too


def _take(path: Path) -> bool:
    """Whether nobody else had; False too where the folder is gone. Raises any other OSError."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    except (FileExistsError, FileNotFoundError):
        return False
    return True


def _put(path: Path, data: bytes) -> None:
    """There whole or not at all; after a power cut nobody wants it."""
    temporary = path.with_name(f".{path.name}")
    try:
        temporary.write_bytes(data)
        temporary.rename(path)
    except OSError:
        with suppress(OSError):
            temporary.unlink()
        raise


def _remove_left(folder: Path, now: float) -> None:
    """now: by the clock of who serves the folder. What is another's, or goes meanwhile, is let be."""
    for draft in folder.glob(f"{_PREFIX}*"):
        with suppress(OSError):
            alive = draft / _ALIVE
            seen = alive if os.path.exists(alive) else draft  # noqa: PTH110, which raises in another's folder
            if now - seen.stat().st_mtime > _LEFT_S:
                shutil.rmtree(draft, ignore_errors=True)
