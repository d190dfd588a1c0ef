"""Reads the log of changes, from any process and while it is written: every change is checked before it is believed."""

import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from index.changes.impacts import noted
from index.changes.log_file import (
    COLUMNS,
    LOG_FILE,
    RECEIPT_FILE,
    Change,
    cut_off,
    head_of,
    open_log,
    translated,
    verified,
)
from index.changes.receipt import Receipt
from index.errors import GenerationError


class LogReader:
    """Follows a log from any process, also while it is written. Not safe to share between threads."""

    def __init__(self, folder: Path) -> None:
        """Raises FileNotFoundError where no change was ever written, GenerationError for another file."""
        self.path = folder / LOG_FILE
        if not self.path.exists():
            raise FileNotFoundError(self.path)
        with ExitStack() as opened:
            try:
                self._connection = open_log(self.path, write=False)
                opened.callback(self._connection.close)
                if self._unbegun():
                    raise FileNotFoundError(self.path)
                self.head = head_of(self.path, self._connection)
            except sqlite3.Error as error:
                raise translated(self.path, error) from error
            opened.pop_all()
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
            query = f"SELECT {COLUMNS} FROM changes WHERE seq > ? ORDER BY seq LIMIT ?"
            found, chains = [], dict[int, int]()
            for row in self._connection.execute(query, (before, most)):
                found.append(verified(self.path, row, before, chain))
                before, chain = row[0], row[5]
                chains[before] = chain
            first = before - len(found) + 1
            for number, weights in noted(self.path, self._connection, chains):
                found[number - first] = found[number - first]._replace(weights=weights)
        except sqlite3.Error as error:
            raise translated(self.path, error) from error
        if len(found) < most and before < acknowledged:
            raise cut_off(self.path, before, acknowledged)
        self._chain_at = before, chain
        return found

    def last(self) -> int:
        """The last change that is there now, by its number alone; nothing is checked. Raises GenerationError for a log
        that cannot tell."""
        try:
            found = self._connection.execute("SELECT max(seq) FROM changes").fetchone()[0]
        except sqlite3.Error as error:
            raise translated(self.path, error) from error
        return self.head.first - 1 if found is None else int(found)

    def chain_after(self, seq: int) -> int:
        """The checksum that a change after `seq` goes on from: two logs with the same one hold the same up to there.

        Raises GenerationError where the log does not have `seq`.
        """
        return self._chain_before(seq)[1]

    def close(self) -> None:
        self._connection.close()
        if self._receipt is not None:
            self._receipt.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _unbegun(self) -> bool:
        """Whether the file is there and the log is not: its writer has made the one and not yet committed the other.
        A log that was there before has a receipt."""
        receipt = self.path.with_name(RECEIPT_FILE)
        empty = self._connection.execute("PRAGMA schema_version").fetchone()[0] == 0
        return empty and not (receipt.exists() and receipt.stat().st_size)

    def _chain_before(self, seq: int) -> tuple[int, int]:
        if seq == self._chain_at[0]:
            return self._chain_at
        head = head_of(self.path, self._connection)
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
