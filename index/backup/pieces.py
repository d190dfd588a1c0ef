"""Files cut into pieces of 8 MiB: what a store holds of them is named by the hash of its bytes.

So what is there need not be sent again, and what is fetched proves itself, piece by piece and before it is written. A
few pieces are on their way at once; with them 32 MiB are in memory.
"""

import hashlib
import os
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from itertools import islice
from pathlib import Path
from typing import TypeVar

from index.backup.contents import StoredFile
from index.backup.store import MissingError, Store
from index.errors import BackupError

PIECE_BYTES = 8 << 20
AT_ONCE = 4
_PUSH_AGAIN = "Push again with --read-back, which replaces it, or pull another backup (--list)"

Job = TypeVar("Job")
Advance = Callable[[int], None]  # told of bytes that are done


def described(handle: int, size: int) -> StoredFile:
    """Hashes of an open file, read once."""
    whole, pieces = hashlib.sha256(), []
    for start in range(0, size, PIECE_BYTES):
        piece = os.pread(handle, PIECE_BYTES, start)
        whole.update(piece)
        pieces.append(_hash(piece))
    return StoredFile(size, whole.hexdigest(), pieces)


def send(store: Store, folder: str, files: Iterable[tuple[int, StoredFile]], advance: Advance, again: bool) -> int:
    """Puts the pieces of open files into a folder of the store; returns the bytes that were not there before.

    Args:
        again: Reads back what the folder holds, and replaces what is damaged there.

    Raises:
        BackupError: A file is not what was described; or the store fails.
    """
    there = store.sizes(folder)
    places: dict[str, tuple[int, int, int]] = {}  # of each piece the file, its start and its bytes

    def one(sha256: str) -> int:
        handle, start, size = places[sha256]
        name = f"{folder}/{sha256}"
        needed = there.get(sha256) != size or (again and not _intact(store, name, sha256, size))
        if needed:
            piece = os.pread(handle, size, start)
            if _hash(piece) != sha256:
                raise BackupError(f"a file of {folder} changed while it was pushed; push again")
            store.put(name, piece)
            if again and not _intact(store, name, sha256, size):
                raise BackupError(f"{store.where}/{name} reads back otherwise than it was sent; is that store failing?")
        advance(size)
        return size if needed else 0

    for handle, stored in files:
        for number, sha256 in enumerate(stored.pieces):
            start = number * PIECE_BYTES
            size = min(PIECE_BYTES, stored.bytes - start)
            if sha256 in places:
                advance(size)
            places.setdefault(sha256, (handle, start, size))
    return _at_once(one, places)


def fetch(store: Store, folder: str, stored: StoredFile, piece_bytes: int, what: str) -> bytes:
    """A small file, in memory. `what` names it in errors."""
    sizes = _sizes(stored, piece_bytes)
    return b"".join(_got(store, f"{folder}/{sha256}", sha256, size, what) for sha256, (_, size) in sizes)


def fetch_into(
    store: Store,
    folder: str,
    files: dict[Path, StoredFile],
    piece_bytes: int,
    advance: Advance,
    mend: str = _PUSH_AGAIN,
) -> int:
    """Makes `files`, whole and checked, of pieces of the store; what they hold already is kept. Returns the bytes that
    were fetched.

    Args:
        mend: what to do about a piece that is damaged.

    Raises:
        BackupError: A piece is missing, damaged or too large. What was fetched so far stays.
        OSError: They cannot be written.
    """
    jobs = []
    for path, stored in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        _make_room(path, stored.bytes)
        jobs += [(path, sha256, start, size) for sha256, (start, size) in _sizes(stored, piece_bytes)]

    def one(job: tuple[Path, str, int, int]) -> int:
        path, sha256, start, size = job
        handle = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            needed = _hash(os.pread(handle, size, start)) != sha256
            if needed:
                piece = _got(store, f"{folder}/{sha256}", sha256, size, f"{path.name}, byte {start:,} and on", mend)
                os.pwrite(handle, piece, start)
        finally:
            os.close(handle)
        advance(size)
        return size if needed else 0

    return _at_once(one, jobs)


def _make_room(path: Path, size: int) -> None:
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    try:
        os.ftruncate(handle, size)
        if size:
            os.posix_fallocate(handle, 0, size)  # a disk that is too small is found now
    finally:
        os.close(handle)


def _sizes(stored: StoredFile, piece_bytes: int) -> list[tuple[str, tuple[int, int]]]:
    """Of each piece its hash, start and bytes."""
    starts = range(0, stored.bytes, piece_bytes)
    return [
        (sha256, (start, min(piece_bytes, stored.bytes - start)))
        for sha256, start in zip(stored.pieces, starts, strict=True)
    ]


def _got(store: Store, name: str, sha256: str, size: int, what: str, mend: str = _PUSH_AGAIN) -> bytes:
    try:
        piece = store.get(name, size)
    except MissingError as error:
        raise MissingError(f"{error}, and it is a piece of {what}. {mend}") from None
    if len(piece) != size or _hash(piece) != sha256:
        raise BackupError(
            f"{store.where}/{name} is damaged: a piece of {what}, its {len(piece):,} bytes do not have the hash that "
            f"is its name. {mend}"
        )
    return piece


def _intact(store: Store, name: str, sha256: str, size: int) -> bool:
    try:
        return _hash(store.get(name, size)) == sha256
    except BackupError:
        return False


def _hash(piece: bytes) -> str:
    return hashlib.sha256(piece).hexdigest()


def _at_once(work: Callable[[Job], int], jobs: Iterable[Job]) -> int:
    """Does each of the jobs, a few at once, and adds up what they return; after one that failed no other is begun, and
    its error is raised."""
    waiting, total = iter(jobs), 0
    with ThreadPoolExecutor(AT_ONCE) as pool:
        running = {pool.submit(work, job) for job in islice(waiting, AT_ONCE)}
        while running:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            total += sum(each.result() for each in done)
            running |= {pool.submit(work, job) for job in islice(waiting, len(done))}
    return total
