"""A copy of the log of changes, taken while it is written, and how a copy joins the log of another index.

SQLite's backup API copies the database in one read transaction, so the copy ends with a transaction that was committed,
and the writer does not wait. Every change of a copy is checked against its chain of checksums before it is used.

Two logs are the same up to the change after which they have the same checksum. A copy becomes the log of an index that
has none, or adds what follows to one that ends before it. It never replaces anything.
"""

import os
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from embed.vectors.durable import sync
from index.backup.contents import StoredFile, StoredLog
from index.changes.fold import FoldedTo
from index.changes.log import Log
from index.changes.log_file import LOCK_FILE, LOG_FILE, RECEIPT_FILE, LogLockedError, Write, lock, open_log, translated
from index.changes.log_reader import LogReader, changes
from index.changes.receipt import Receipt
from index.changes.writer import MOST
from index.errors import BackupError


def copied(folder: Path, into: Path) -> Path | None:
    """Copies the log of an index's folder into the folder `into`; None where there is no log."""
    source, target = folder / LOG_FILE, into / LOG_FILE
    if local_log(folder) is None:
        return None
    try:
        with closing(open_log(source, write=False)) as read, closing(sqlite3.connect(target)) as written:
            read.backup(written)
            # One file, which can be read where nothing can be written; the next writer turns it back to WAL.
            written.execute("PRAGMA journal_mode = DELETE")
    except sqlite3.Error as error:
        raise translated(source, error) from error
    return target


def stored_log(folder: Path, file: StoredFile) -> StoredLog:
    """What the log in a folder says of itself, once every change of it is checked."""
    with LogReader(folder) as reader:
        head, last = reader.head, reader.head.first - 1
        while found := reader.since(last):
            last = found[-1].seq
    return StoredLog(head.id, head.first, last, file)


def check_serves(stored: StoredLog | None, generations: Mapping[str, FoldedTo]) -> None:
    """Raises BackupError where the log lacks a change that one of the generations does not hold, or is not theirs."""
    for generation, folded in generations.items():
        if stored is None:
            if folded.log != 0:
                raise BackupError(f"{generation} was built from a log of changes, and that log is not with it")
        elif folded.log not in (0, stored.id):
            raise BackupError(f"{generation} was built from another log of changes than the one with it")
        elif folded.seq < stored.first - 1:
            raise BackupError(
                f"{generation} holds changes up to {folded.seq:,}, and the log with it begins at {stored.first:,}: "
                "what is between is missing"
            )


def local_log(folder: Path) -> StoredLog | None:
    """The log that an index's folder has, as far as its first and last change tell; None for none."""
    try:
        with LogReader(folder) as reader:
            return StoredLog(reader.head.id, reader.head.first, reader.last(), StoredFile(0, "", []))
    except FileNotFoundError:
        return None


def check_joins(folder: Path, stored: StoredLog) -> None:
    """Raises BackupError where a copy cannot become, or go on from, the log of an index's folder."""
    path = folder / LOG_FILE
    parts = (folder / each for each in (f"{LOG_FILE}-wal", f"{LOG_FILE}-journal", RECEIPT_FILE))
    leftover = [each.name for each in parts if _holds_something(each)]
    here = local_log(folder)  # after these, which another pull writes after the log
    if here is None:
        if leftover:
            raise BackupError(
                f"{path} is gone, and {', '.join(leftover)} of it is still there: move that away first, so that it is "
                "not taken for a part of the log that is pulled"
            )
    elif here.id != stored.id:
        raise BackupError(
            f"{path} is another log than the backup's, and is not replaced. Pull into another --root, or move it and "
            f"{RECEIPT_FILE} away first"
        )
    elif here.last < stored.first - 1 or stored.last < here.first - 1:
        raise BackupError(
            f"{path} holds changes {here.first:,} to {here.last:,} and the backup {stored.first:,} to {stored.last:,}: "
            "what is between is in neither. Pull into another --root"
        )


def _holds_something(path: Path) -> bool:
    try:
        return path.stat().st_size > 0
    except FileNotFoundError:
        return False


def join(folder: Path, copy: Path, stored: StoredLog) -> int:
    """Makes the copy, the folder of a checked one, the log of an index's folder, or adds to that what it lacks. Returns
    how many changes were added.

    Raises BackupError where they do not fit, or a service writes the index.
    """
    check_joins(folder, stored)
    try:
        return _join(folder, copy, stored)
    except LogLockedError as error:
        raise BackupError(f"{error} Stop that service, or pull into another --root") from error


def _join(folder: Path, copy: Path, stored: StoredLog) -> int:
    handle = lock(folder / LOCK_FILE)
    try:
        here = local_log(folder)
        if here is None:
            sync(copy / LOG_FILE)
            (copy / LOG_FILE).rename(folder / LOG_FILE)  # and no second name, under which a later pull would write
            sync(folder)
            with Receipt(folder / RECEIPT_FILE, stored.id, write=True) as receipt:
                receipt.store(stored.last)
            return stored.last - stored.first + 1
    finally:
        os.close(handle)
    common = min(here.last, stored.last)
    with LogReader(folder) as ours, LogReader(copy) as theirs:
        if ours.chain_after(common) != theirs.chain_after(common):
            raise BackupError(
                f"{folder / LOG_FILE} and the backup's log went different ways before change {common:,}: both were "
                "written to. Nothing was changed; pull into another --root"
            )
        head = theirs.head
    if stored.last <= here.last and (folder / RECEIPT_FILE).exists():  # without, a pull was killed before it wrote that
        return 0
    with Log(folder, head.dim, head.model) as log:
        if log.last != here.last:
            raise BackupError(f"{log.path} was written to meanwhile; pull again")
        some: list[Write] = []
        for change in changes(copy, here.last):
            some.append(Write(change.id, change.vector, change.payload, change.text_hash, change.weights))
            if len(some) == MOST:
                log.append(some)
                some = []
        log.append(some)
    return max(0, stored.last - here.last)
