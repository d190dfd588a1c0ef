"""The SQLite database that the log is: what its rows hold, and what is said of one that is damaged.

log.py writes it, and log_reader.py follows it.
"""

import fcntl
import os
import sqlite3
import struct
import zlib
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from index.errors import GenerationError, IndexingError, StorageError

LOG_FILE, RECEIPT_FILE, LOCK_FILE = "changes.sqlite", "changes.acknowledged", ".changes.lock"
APPLICATION_ID = 0x70776C67  # "pwlg": what `file` and `sqlite3` show of it
FORMAT = 1
_BUSY_S = 10.0
_NOT_OURS = ("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_FULL", "SQLITE_IOERR", "SQLITE_PERM")  # the disk's fault
SCHEMA = """
CREATE TABLE log (
  id INTEGER NOT NULL, dim INTEGER NOT NULL, model TEXT, first INTEGER NOT NULL, chain INTEGER NOT NULL
);
CREATE TABLE changes (
  seq INTEGER PRIMARY KEY, id TEXT NOT NULL, vector BLOB, payload BLOB, text_hash BLOB, chain INTEGER NOT NULL
);
"""
COLUMNS = "seq, id, vector, payload, text_hash, chain"
RESTORE = f"Restore it from a backup; to go on without those changes, delete {RECEIPT_FILE} beside it."


class LogClosedError(IndexingError):
    """The writer takes no more changes: a commit failed before, and only opening the log again tells what it holds."""


class LogLockedError(IndexingError):
    """Another process writes this log."""


class Change(NamedTuple):
    """One effect. vector: little-endian float32 bytes of a put, None for a delete; payload: JSON of a put; text_hash:
    of the text that was embedded, empty where a vector was given; weights: by a sparse model, as impacts.py packs them,
    None where there are none."""

    seq: int
    id: str
    vector: bytes | None
    payload: bytes | None = None
    text_hash: bytes = b""
    weights: bytes | None = None


class Write(NamedTuple):
    """A change before it has a number."""

    id: str
    vector: bytes | None
    payload: bytes | None = None
    text_hash: bytes = b""
    weights: bytes | None = None


class Head(NamedTuple):
    """id: of the log, random. first: the oldest change that it may hold. chain: the checksum before that one."""

    id: int
    dim: int
    model: str | None
    first: int
    chain: int


def open_log(path: Path, *, write: bool) -> sqlite3.Connection:
    mode = "rwc" if write else "ro"
    uri = f"file:{_quoted(path)}?mode={mode}"
    connection = sqlite3.connect(uri, uri=True, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
    try:
        if write:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
        # A foreign file must not run code of its own: no triggers, views or virtual tables take part in our statements.
        connection.execute("PRAGMA trusted_schema = OFF")
        if not write:
            _roll_back(path, connection)
        connection.text_factory = _text
    except BaseException:
        connection.close()
        raise
    return connection


def _roll_back(path: Path, connection: sqlite3.Connection) -> None:
    """Undoes what a writer that was killed as it began had not finished: SQLite leaves that to who may write."""
    try:
        connection.execute("PRAGMA schema_version").fetchone()
    except sqlite3.OperationalError as error:
        if error.sqlite_errorname != "SQLITE_READONLY_ROLLBACK":
            raise
        with closing(sqlite3.connect(f"file:{_quoted(path)}?mode=rw", uri=True, timeout=_BUSY_S)) as writing:
            writing.execute("PRAGMA schema_version").fetchone()


def _text(raw: bytes) -> str:
    """Bytes that are not UTF-8 come through, for the checksum to refuse."""
    return raw.decode(errors="surrogateescape")


def _quoted(path: Path) -> str:
    return str(path.absolute()).replace("%", "%25").replace("?", "%3f").replace("#", "%23")


def head_of(path: Path, connection: sqlite3.Connection) -> Head:
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


def verified(
    path: Path, row: tuple[int, str, bytes | None, bytes | None, bytes, int], before: int, chain: int
) -> Change:
    seq, id_, vector, payload, text_hash, stated = row
    if seq != before + 1:
        raise GenerationError(path, f"is damaged: change {before + 1} is missing, {seq} follows {before}")
    try:
        found = chained(chain, seq, id_, vector, payload, text_hash)
    except (TypeError, AttributeError, UnicodeEncodeError):
        found = -1
    if found != stated:
        raise GenerationError(path, f"is damaged: change {seq} does not have the checksum that it states")
    return Change(seq, id_, vector, payload, text_hash)


def chained(chain: int, seq: int, id_: str, vector: bytes | None, payload: bytes | None, text_hash: bytes) -> int:
    encoded = id_.encode()
    sizes = [-1 if part is None else len(part) for part in (encoded, vector, payload, text_hash)]
    state = zlib.crc32(struct.pack("<Iq4i", chain, seq, *sizes))
    for part in (encoded, vector, payload, text_hash):
        if part:
            state = zlib.crc32(part, state)
    return state


def cut_off(path: Path, last: int, acknowledged: int) -> GenerationError:
    return GenerationError(
        path,
        f"ends at change {last}, and {acknowledged} was acknowledged: its end is damaged or was cut off. {RESTORE}",
    )


def translated(path: Path, error: sqlite3.Error) -> IndexingError:
    if getattr(error, "sqlite_errorname", "").startswith(_NOT_OURS):
        return StorageError(f"cannot use {path}: {error}. Is the disk full or failing, may this user write there?")
    return GenerationError(path, f"cannot be read as a log of changes: {error}")


class transaction:  # noqa: N801
    """`with`: BEGIN IMMEDIATE, and COMMIT or ROLLBACK."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def __enter__(self) -> None:
        self._connection.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._connection.execute("COMMIT" if kind is None else "ROLLBACK")


def lock(path: Path) -> int:
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
