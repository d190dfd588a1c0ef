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

import os
import secrets
import sqlite3
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from embed.vectors.durable import sync
from index.changes import impacts, repeats
from index.changes.log_file import (
    APPLICATION_ID,
    COLUMNS,
    FORMAT,
    LOCK_FILE,
    LOG_FILE,
    RECEIPT_FILE,
    RESTORE,
    SCHEMA,
    LogClosedError,
    Write,
    chained,
    head_of,
    lock,
    open_log,
    transaction,
    translated,
    verified,
)
from index.changes.receipt import Receipt
from index.changes.repeats import AnsweredRequest, KeyedRequest
from index.errors import GenerationError, StorageError


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
            self._lock = lock(folder / LOCK_FILE)
            opened.callback(os.close, self._lock)
            try:
                self.connection = open_log(self.path, write=True)
                opened.callback(self.connection.close)
                self._begin()
                self.receipt = self._open_receipt()
                opened.callback(self.receipt.close)
                self._check()
            except sqlite3.Error as error:
                raise translated(self.path, error) from error
            except OSError as error:
                raise StorageError(f"cannot write {self.path}: {error.strerror}") from error
            self._opened = opened.pop_all()

    def append(self, writes: Sequence[Write], keyed: Sequence[tuple[int, KeyedRequest]] = ()) -> int:
        """Makes the writes durable in one transaction and returns the seq of the last of them.

        keyed: the requests that came with a new key, each after how many of the writes it is done.

        Raises LogClosedError once a commit has failed, StorageError for a disk that takes no more: then none of them
        will ever be there, but for a failed COMMIT, of which nobody can know.
        """
        if self.failure is not None:
            raise LogClosedError(f"{self.path} takes no more changes until the service is restarted: {self.failure}")
        if not writes and not keyed:
            return self.last
        rows, weighed, seq, chain = [], [], self.last, self._chain
        for write in writes:
            seq += 1
            chain = chained(chain, seq, write.id, write.vector, write.payload, write.text_hash)
            rows.append((seq, write.id, write.vector, write.payload, write.text_hash, chain))
            if write.weights is not None:
                weighed.append((seq, write.weights, chain))
        execute = self.connection.execute
        try:
            execute("BEGIN IMMEDIATE")
            self.connection.executemany(f"INSERT INTO changes ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)", rows)
            impacts.note(self.connection, weighed)
            for done, request in keyed:
                repeats.note(self.connection, request, self.last + done)
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

    def answered(self, request: KeyedRequest) -> AnsweredRequest | None:
        """What the request was answered before. Raises KeyReusedError, and GenerationError for a damaged log."""
        try:
            return repeats.find(self.path, self.connection, request)
        except sqlite3.Error as error:
            raise translated(self.path, error) from error

    def trim(self, upto: int) -> int:
        """Forgets changes up to `upto`, which no kept generation needs any more; returns how many there were."""
        upto = min(upto, self.last)
        if self.failure is not None or upto < self.first:
            return 0
        try:
            found = self.connection.execute("SELECT chain FROM changes WHERE seq = ?", (upto,)).fetchone()
            with transaction(self.connection):
                self.connection.execute("DELETE FROM changes WHERE seq <= ?", (upto,))
                impacts.forget(self.connection, upto)
                self.connection.execute("UPDATE log SET first = ?, chain = ?", (upto + 1, found[0]))
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
        connection = self.connection
        if connection.execute("PRAGMA application_id").fetchone()[0] == 0:
            receipt = self.path.with_name(RECEIPT_FILE)
            if receipt.exists() and receipt.stat().st_size:
                raise GenerationError(self.path, f"is empty, and {receipt} says that it was not; {RESTORE}")
            # SQLite deleted a journal when it turned to WAL. If that came back after a power cut, it would be played
            # back over all that follows.
            sync(self.path.parent)
            with transaction(connection):
                for statement in SCHEMA.strip().split(";\n"):
                    connection.execute(statement)
                identity = secrets.randbits(62) | 1
                connection.execute("INSERT INTO log VALUES (?, ?, ?, 1, 0)", (identity, self.dim, self.model))
                connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                connection.execute(f"PRAGMA user_version = {FORMAT}")
        connection.execute(repeats.SCHEMA)
        connection.execute(impacts.SCHEMA)

    def _open_receipt(self) -> Receipt:
        return Receipt(self.path.with_name(RECEIPT_FILE), head_of(self.path, self.connection).id, write=True)

    def _check(self) -> None:
        """Reads all of it once: what a crash or a bad disk has done is found before anything is added."""
        head = head_of(self.path, self.connection)
        self.id, self.first = head.id, head.first
        last, chain = head.first - 1, head.chain
        for row in self.connection.execute(f"SELECT {COLUMNS} FROM changes ORDER BY seq"):
            last, chain = verified(self.path, row, last, chain).seq, row[5]
        self.receipt.check(last)
        if (head.dim, head.model) != (self.dim, self.model):
            if last >= head.first:
                raise GenerationError(
                    self.path,
                    f"holds changes of model {head.model} with {head.dim} dimensions, and the index has {self.model} "
                    f"with {self.dim}: build the changes into a generation first",
                )
            self.connection.execute("UPDATE log SET dim = ?, model = ?", (self.dim, self.model))
        self.last, self._chain = last, chain
        self.receipt.store(last)

    def _roll_back(self) -> None:
        try:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
        except sqlite3.Error as error:
            self.failure = self.failure or f"a rollback failed ({error})"
