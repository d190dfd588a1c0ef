"""Requests that came with a key: what each was answered, noted in the transaction that wrote what it asked for.

A caller who never heard the answer sends the request again with its key and gets the first answer; nothing is written
twice, and nothing that was written since is undone. The last MOST keys are remembered, whatever the clock says; fewer
where their answers, which name each document that was refused, take more than ANSWER_BYTES.
"""

import sqlite3
import zlib
from pathlib import Path

import msgspec

from index.changes.log_file import LOG_FILE, open_log, translated
from index.errors import GenerationError, IndexingError

MOST, ANSWER_BYTES = 100_000, 64 << 20
SCHEMA = """
CREATE TABLE IF NOT EXISTS requests (
  number INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, asked BLOB NOT NULL, seq INTEGER NOT NULL, answer BLOB NOT NULL,
  upto INTEGER NOT NULL, checksum INTEGER NOT NULL
)
"""


class KeyReusedError(IndexingError):
    """A key came with another request than the one it was first sent with."""


class KeyedRequest(msgspec.Struct, array_like=True, frozen=True):
    """key, asked: hashes of whose key it is and of what was asked with it. answer: what it is told beside the seq."""

    key: bytes
    asked: bytes
    answer: bytes = b""


class AnsweredRequest(msgspec.Struct, frozen=True):
    seq: int
    answer: bytes


def answered(folder: Path, request: KeyedRequest) -> AnsweredRequest | None:
    """What the request was answered before, by the log in an index's folder; None where its key is new.

    Raises KeyReusedError, and GenerationError for a log that is damaged.
    """
    path = folder / LOG_FILE
    if not path.exists():
        return None
    try:
        connection = open_log(path, write=False)
        try:
            return find(path, connection, request)
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise translated(path, error) from error


def find(path: Path, connection: sqlite3.Connection, request: KeyedRequest) -> AnsweredRequest | None:
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'requests'").fetchone():
        return None  # a log of before there were keys, which nobody has written to since
    query = "SELECT asked, seq, answer, checksum FROM requests WHERE key = ?"
    row = connection.execute(query, (request.key,)).fetchone()
    if row is None:
        return None
    asked, seq, answer, stated = row
    try:
        sound = _checksum(request.key, asked, seq, answer) == stated
    except TypeError:
        sound = False
    if not sound:
        raise GenerationError(path, "is damaged: what it says of an Idempotency-Key does not have its checksum")
    if asked != request.asked:
        raise KeyReusedError("This Idempotency-Key came with another request before; a new request needs a new key.")
    return AnsweredRequest(seq, answer)


def note(connection: sqlite3.Connection, request: KeyedRequest, seq: int) -> None:
    """Within the transaction of its writes. upto: bytes of all answers up to this one."""
    before = connection.execute("SELECT number, upto FROM requests ORDER BY number DESC LIMIT 1").fetchone() or (0, 0)
    number, upto = before[0] + 1, before[1] + len(request.answer)
    checksum = _checksum(request.key, request.asked, seq, request.answer)
    row = (number, request.key, request.asked, seq, request.answer, upto, checksum)
    connection.execute("INSERT INTO requests VALUES (?, ?, ?, ?, ?, ?, ?)", row)
    while True:
        query = "SELECT number, upto - length(answer) FROM requests ORDER BY number LIMIT 1"
        oldest, begin = connection.execute(query).fetchone()
        if oldest == number or (oldest > number - MOST and begin >= upto - ANSWER_BYTES):
            return
        connection.execute("DELETE FROM requests WHERE number = ?", (oldest,))


def _checksum(key: bytes, asked: bytes, seq: int, answer: bytes) -> int:
    state = zlib.crc32(b"%d %d %d %d" % (len(key), len(asked), len(answer), seq))
    for part in (key, asked, answer):
        state = zlib.crc32(part, state)
    return state
