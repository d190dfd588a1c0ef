"""The log on disk: what was put and deleted, in one order, since the oldest generation that is kept.

It is an SQLite database in WAL mode with synchronous=FULL: when `append` returns, its changes are on the disk, all of
them or none. It holds effects and never commands: a put is an id with its vector and payload, a delete is an id. What a
filter meant at the time is decided before it gets here, so a replay cannot mean something else.

Every change has a number, `seq`, one more than the one before, and a checksum over itself and the checksum before it.
So a change that was altered, lost or moved is found when the log is read, whatever SQLite makes of the damage; and the
receipt (receipt.py) tells a log whose end is missing. A damaged log is refused by name and never half used.

After a COMMIT that failed nobody knows what is on the disk, and a second one that succeeds proves nothing about the
first: the writer takes nothing more until it is opened again, which reads what is really there.
"""

import fcntl
import os
import secrets
import sqlite3
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple, Self

from index.changes.receipt import Receipt
from index.disk.files import sync
from index.errors import GenerationError, IndexingError, StorageError

LOG_FILE, RECEIPT_FILE, LOCK_FILE = "changes.sqlite", "changes.acknowledged", ".changes.lock"
APPLICATION_ID = 0x70776C67  # "pwlg": what `file` and `sqlite3` show of it
FORMAT = 1
_BUSY_S = 10.0
_NOT_OURS = ("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_FULL", "SQLITE_IOERR", "SQLITE_PERM")  # the disk's fault
_SCHEMA = """
CREATE TABLE log (
  id INTEGER NOT NULL, dim INTEGER NOT NULL, model TEXT, first INTEGER NOT NULL, chain INTEGER NOT NULL
);
CREATE TABLE changes (
  seq INTEGER PRIMARY KEY, id TEXT NOT NULL, vector BLOB, payload BLOB, text_hash BLOB, chain INTEGER NOT NULL
);
"""
_COLUMNS = "seq, id, vector, payload, text_hash, chain"


class LogClosedError(IndexingError):
    """The writer takes no more changes: a commit failed before, and only opening the log again tells what it holds."""


class LogLockedError(IndexingError):
    """Another process writes this log."""


class Change(NamedTuple):
    """One effect. vector: little-endian float32 bytes of a put, None for a delete; payload: JSON of a put; text_hash:
    of the text that was embedded, empty where a vector was given."""

    seq: int
    id: str
    vector: bytes | None
    payload: bytes | None = None
    text_hash: bytes = b""


class Write(NamedTuple):
    """A change before it has a number."""

    id: str
    vector: bytes | None
    payload: bytes | None = None
    text_hash: bytes = b""


class Log:
    """The one writer of an index's log. `append` may be called from one thread at a time."""

    def __init__(self, folder: Path, dim: int, model: str | None) -> None:
        """Opens the log of an index's folder, or begins one. dim, model: of the vectors that it will hold.

        Raises LogLockedError where another process has it open, GenerationError for a damaged log, or one of another
        model or dimension that still holds changes, and StorageError where the folder cannot be written to.
        """
        self.path, self.dim, self.model = folder / LOG_FILE, dim, model
        self.failure: str | None = None
        self.id = self.first = self.last = self._chain = 0
        with ExitStack() as opened:
            self._lock = _lock(folder / LOCK_FILE)
            opened.callback(os.close, self._lock)
            try:
                self._connection = _open(self.path, write=True)
                opened.callback(self._connection.close)
                self._begin()
                self.receipt = self._open_receipt()
                opened.callback(self.receipt.close)
                self._check()
            except sqlite3.Error as error:
                raise _translated(self.path, error) from error
            except OSError as error:
                raise StorageError(f"cannot write {self.path}: {error.strerror}") from error
            self._opened = opened.pop_all()

    def append(self, writes: Sequence[Write]) -> int:
        """Makes the writes durable in one transaction and returns the seq of the last of them.

        Raises LogClosedError once a commit has failed, StorageError for a disk that takes no more: then none of them
        will ever be there, but for a failed COMMIT, of which nobody can know.
        """
        if self.failure is not None:
            raise LogClosedError(f"{self.path} takes no more changes until the service is restarted: {self.failure}")
        if not writes:
            return self.last
        rows, seq, chain = [], self.last, self._chain
        for write in writes:
            seq += 1
            chain = _chained(chain, seq, write.id, write.vector, write.payload, write.text_hash)
            rows.append((seq, write.id, write.vector, write.payload, write.text_hash, chain))
        execute = self._connection.execute
        try:
            execute("BEGIN IMMEDIATE")
            self._connection.executemany(f"INSERT INTO changes ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)", rows)
        except sqlite3.Error as error:
            self._roll_back()
            raise StorageError(f"{self.path} took no change: {error}. Nothing was written; try again.") from error
        try:
            execute("COMMIT")
        except BaseException as error:
            self.failure = f"a commit failed ({error}), so what is on the disk is not known"
            self._roll_back()
            raise LogClosedError(
                f"{self.path}: {self.failure}. These changes may or may not be there after a restart; send them again "
                "then, which is safe."
            ) from error
        self.last, self._chain = seq, chain
        self.receipt.store(seq)
        return seq

    def trim(self, upto: int) -> int:
        """Forgets changes up to `upto`, which no kept generation needs any more; returns how many there were."""
        upto = min(upto, self.last)
        if self.failure is not None or upto < self.first:
            return 0
        try:
            found = self._connection.execute("SELECT chain FROM changes WHERE seq = ?", (upto,)).fetchone()
            with _transaction(self._connection):
                self._connection.execute("DELETE FROM changes WHERE seq <= ?", (upto,))
                self._connection.execute("UPDATE log SET first = ?, chain = ?", (upto + 1, found[0]))
        except sqlite3.Error:
            self._roll_back()
            return 0  # they stay; nobody needs them gone
        gone, self.first = upto + 1 - self.first, upto + 1
        return gone

    def close(self) -> None:
        self._opened.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _begin(self) -> None:
        connection = self._connection
        if connection.execute("PRAGMA application_id").fetchone()[0] == 0:
            receipt = self.path.with_name(RECEIPT_FILE)
            if receipt.exists() and receipt.stat().st_size:
                raise GenerationError(self.path, f"is empty, and {receipt} says that it was not; {_RESTORE}")
            # SQLite deleted a journal when it turned to WAL. If that came back after a power cut, it would be played
            # back over all that follows.
            sync(self.path.parent)
            with _transaction(connection):
                for statement in _SCHEMA.strip().split(";\n"):
                    connection.execute(statement)
                identity = secrets.randbits(62) | 1
                connection.execute("INSERT INTO log VALUES (?, ?, ?, 1, 0)", (identity, self.dim, self.model))
                connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                connection.execute(f"PRAGMA user_version = {FORMAT}")

    def _open_receipt(self) -> Receipt:
        return Receipt(self.path.with_name(RECEIPT_FILE), _head(self.path, self._connection).id, write=True)

    def _check(self) -> None:
        """Reads all of it once: what a crash or a bad disk has done is found before anything is added."""
        head = _head(self.path, self._connection)
        self.id, self.first = head.id, head.first
        last, chain = head.first - 1, head.chain
        for row in self._connection.execute(f"SELECT {_COLUMNS} FROM changes ORDER BY seq"):
            last, chain = _verified(self.path, row, last, chain).seq, row[5]
        if last < self.receipt.seq:
            raise _cut(self.path, last, self.receipt.seq)
        if (head.dim, head.model) != (self.dim, self.model):
            if last >= head.first:
                raise GenerationError(
                    self.path,
                    f"holds changes of model {head.model} with {head.dim} dimensions, and the index has {self.model} "
                    f"with {self.dim}: build the changes into a generation first",
                )
            self._connection.execute("UPDATE log SET dim = ?, model = ?", (self.dim, self.model))
        self.last, self._chain = last, chain
        self.receipt.store(last)

    def _roll_back(self) -> None:
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except sqlite3.Error as error:
            self.failure = self.failure or f"a rollback failed ({error})"


class LogReader:
    """Follows a log from any process, also while it is written. Not safe to share between threads."""

    def __init__(self, folder: Path) -> None:
        """Raises FileNotFoundError where no change was ever written, GenerationError for what is no log of ours."""
        self.path = folder / LOG_FILE
        if not self.path.exists():
            raise FileNotFoundError(self.path)
        try:
            self._connection = _open(self.path, write=False)
            self.head = _head(self.path, self._connection)
        except sqlite3.Error as error:
            raise _translated(self.path, error) from error
        self._receipt: Receipt | None = None
        self._chain_at = (self.head.first - 1, self.head.chain)
        self._follow()

    @property
    def acknowledged(self) -> int:
        """The last change that a caller was told of; costs one load from memory."""
        if self._receipt is None:
            self._follow()
        return 0 if self._receipt is None else self._receipt.seq

    def since(self, seq: int, most: int = 10_000) -> list[Change]:
        """Up to `most` changes after `seq`, in their order, each checked against its neighbour's checksum.

        Raises GenerationError for a damaged one, for one that is missing, and where the log was trimmed beyond `seq`.
        """
        acknowledged = self.acknowledged  # looked at first: what is written while we read may come too late for us
        try:
            before, chain = self._chain_before(seq)
            query = f"SELECT {_COLUMNS} FROM changes WHERE seq > ? ORDER BY seq LIMIT ?"
            found = []
            for row in self._connection.execute(query, (before, most)):
                found.append(_verified(self.path, row, before, chain))
                before, chain = row[0], row[5]
        except sqlite3.Error as error:
            raise _translated(self.path, error) from error
        if len(found) < most and before < acknowledged:
            raise _cut(self.path, before, acknowledged)
        self._chain_at = before, chain
        return found

    def close(self) -> None:
        self._connection.close()
        if self._receipt is not None:
            self._receipt.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _chain_before(self, seq: int) -> tuple[int, int]:
        if seq == self._chain_at[0]:
            return self._chain_at
        head = _head(self.path, self._connection)
        if seq < head.first - 1:
            raise GenerationError(
                self.path, f"begins at change {head.first}, and {seq + 1} is asked for: the older ones were trimmed"
            )
        if seq == head.first - 1:
            return seq, head.chain
        row = self._connection.execute("SELECT chain FROM changes WHERE seq = ?", (seq,)).fetchone()
        if row is None:
            raise GenerationError(self.path, f"has no change {seq}, which was applied before: it is not the same log")
        return seq, row[0]

    def _follow(self) -> None:
        path = self.path.with_name(RECEIPT_FILE)
        if path.exists() and path.stat().st_size:
            self._receipt = Receipt(path, self.head.id, write=False)


class Head(NamedTuple):
    """id: of the log, random. first: the oldest change that it may hold. chain: the checksum before that one."""

    id: int
    dim: int
    model: str | None
    first: int
    chain: int


def changes(folder: Path, since: int, upto: int | None = None) -> Iterator[Change]:
    """All changes after `since`, up to `upto`, of the log in an index's folder; none where there is no log."""
    try:
        reader = LogReader(folder)
    except FileNotFoundError:
        return
    with reader:
        while found := reader.since(since):
            for change in found:
                if upto is not None and change.seq > upto:
                    return
                yield change
            since = found[-1].seq


def _open(path: Path, *, write: bool) -> sqlite3.Connection:
    mode = "rwc" if write else "ro"
    uri = f"file:{_quoted(path)}?mode={mode}"
    connection = sqlite3.connect(uri, uri=True, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
    try:
        if write:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
        # A foreign file must not run code of its own: no triggers, views or virtual tables take part in our statements.
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.text_factory = _text
    except BaseException:
        connection.close()
        raise
    return connection


def _text(raw: bytes) -> str:
    """Bytes that are no text come through, for the checksum to refuse."""
    return raw.decode(errors="surrogateescape")


def _quoted(path: Path) -> str:
    return str(path.absolute()).replace("%", "%25").replace("?", "%3f").replace("#", "%23")


def _head(path: Path, connection: sqlite3.Connection) -> Head:
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    if application != APPLICATION_ID:
        raise GenerationError(path, "is not a log of changes of this program")
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version != FORMAT:
        raise GenerationError(
            path, f"has format {version} and this version reads {FORMAT}; use the version that wrote it"
        )
    rows = connection.execute("SELECT id, dim, model, first, chain FROM log").fetchall()
    if len(rows) != 1 or not all(isinstance(rows[0][place], int) for place in (0, 1, 3, 4)):
        raise GenerationError(path, "is damaged: it does not say what it belongs to")
    return Head(*rows[0])


def _verified(
    path: Path, row: tuple[int, str, bytes | None, bytes | None, bytes, int], before: int, chain: int
) -> Change:
    seq, id_, vector, payload, text_hash, stated = row
    if seq != before + 1:
        raise GenerationError(path, f"is damaged: change {before + 1} is missing, {seq} follows {before}")
    try:
        found = _chained(chain, seq, id_, vector, payload, text_hash)
    except (TypeError, AttributeError, UnicodeEncodeError):
        found = -1
    if found != stated:
        raise GenerationError(path, f"is damaged: change {seq} does not have the checksum that it states")
    return Change(seq, id_, vector, payload, text_hash)


def _chained(chain: int, seq: int, id_: str, vector: bytes | None, payload: bytes | None, text_hash: bytes) -> int:
    encoded = id_.encode()
    sizes = [-1 if part is None else len(part) for part in (encoded, vector, payload, text_hash)]
    state = zlib.crc32(struct.pack("<Iq4i", chain, seq, *sizes))
    for part in (encoded, vector, payload, text_hash):
        if part:
            state = zlib.crc32(part, state)
    return state


def _cut(path: Path, last: int, acknowledged: int) -> GenerationError:
    return GenerationError(
        path,
        f"ends at change {last}, and {acknowledged} was acknowledged: its end is damaged or was cut off. {_RESTORE}",
    )


_RESTORE = f"Restore it from a backup; to go on without those changes, delete {RECEIPT_FILE} beside it."


def _translated(path: Path, error: sqlite3.Error) -> IndexingError:
    if getattr(error, "sqlite_errorname", "").startswith(_NOT_OURS):
        return StorageError(f"cannot use {path}: {error}. Is the disk full or failing, may this user write there?")
    return GenerationError(path, f"cannot be read as a log of changes: {error}")


class _transaction:  # noqa: N801
    """`with`: BEGIN IMMEDIATE, and COMMIT or ROLLBACK."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def __enter__(self) -> None:
        self._connection.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._connection.execute("COMMIT" if kind is None else "ROLLBACK")


def _lock(path: Path) -> int:
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise StorageError(f"cannot write to {path.parent}: {error.strerror}") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise LogLockedError(f"the changes of {path.parent} are being written by another process") from None
    return handle
