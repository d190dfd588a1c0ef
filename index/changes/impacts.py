"""Sparse weights of changes: how they lie in the log, and the search of them.

They were made by the sparse model of the generation that was served when the document was written, and are weights for
a generation of that model alone. A document that was written without them, or with those of another model, has none
until it is built in. Scores are sums of the same integers as in a generation (search/sparse/), so a document scores the
same here and in the next one.

In the log they are a table beside the changes, which a log of before does not have:

    weights    16 bytes of a hash of the model's id · of each token uint32 · of each its impact, uint8
    checksum   over them, from the checksum of the change on: they belong to no other one
"""

import hashlib
import sqlite3
import zlib
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from index.errors import GenerationError
from index.search.bitmap import Bitmap
from index.search.sparse.searching import QueryTokens

SCHEMA = """
CREATE TABLE IF NOT EXISTS weights (seq INTEGER PRIMARY KEY, weights BLOB NOT NULL, checksum INTEGER NOT NULL)
"""
_MODEL_BYTES, _POSTING_BYTES = 16, 5
_Posted = tuple[NDArray[np.uint32], NDArray[np.uint8]]


def packed(model: str, tokens: NDArray[np.uint32], impacts: NDArray[np.uint8]) -> bytes:
    """Of a document, as the log holds them. model: the id of what made them."""
    return _mark(model) + tokens.astype("<u4").tobytes() + impacts.tobytes()


def unpacked(model: str, weights: bytes | None) -> _Posted | None:
    """Tokens and impacts; None where they are no weights by that model."""
    if weights is None or weights[:_MODEL_BYTES] != _mark(model):
        return None
    count = (len(weights) - _MODEL_BYTES) // _POSTING_BYTES
    tokens = np.frombuffer(weights, "<u4", count, _MODEL_BYTES).astype(np.uint32)
    return tokens, np.frombuffer(weights, np.uint8, count, _MODEL_BYTES + 4 * count)


def note(connection: sqlite3.Connection, rows: Sequence[tuple[int, bytes, int]]) -> None:
    """Writes weights, each with the number and the checksum of its change, in the transaction that writes those."""
    held = [(seq, weights, zlib.crc32(weights, chain)) for seq, weights, chain in rows]
    connection.executemany("INSERT OR REPLACE INTO weights (seq, weights, checksum) VALUES (?, ?, ?)", held)


def forget(connection: sqlite3.Connection, upto: int) -> None:
    connection.execute("DELETE FROM weights WHERE seq <= ?", (upto,))


def noted(path: Path, connection: sqlite3.Connection, chains: dict[int, int]) -> Iterator[tuple[int, bytes]]:
    """The weights of changes whose checksums are `chains`, as far as they have any. Raises GenerationError for weights
    that are damaged."""
    there = connection.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'weights'").fetchone()
    if there is None or not chains:
        return
    query = "SELECT seq, weights, checksum FROM weights WHERE seq BETWEEN ? AND ?"
    for seq, weights, checksum in connection.execute(query, (min(chains), max(chains))):
        if not isinstance(weights, bytes) or zlib.crc32(weights, chains[seq]) != checksum:
            raise GenerationError(path, f"is damaged: the weights of change {seq} are not those that were written")
        yield seq, weights


class _PostedImpacts:
    __slots__ = ("impacts", "rows")

    def __init__(self) -> None:
        self.rows, self.impacts = array("I"), array("B")


class ChangedImpacts:
    """The weights of the rows that were put, in the order of rows. One thread adds; reading may overlap with it."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._by_token: dict[int, _PostedImpacts] = {}
        self._weighed = array("B")

    def add(self, weights: bytes | None) -> None:
        posted = unpacked(self._model, weights)
        if posted is not None:
            row = len(self._weighed)
            for token, impact in zip(posted[0].tolist(), posted[1].tolist(), strict=True):
                postings = self._by_token.get(token)
                if postings is None:
                    postings = self._by_token[token] = _PostedImpacts()
                postings.impacts.append(impact)
                postings.rows.append(row)
        self._weighed.append(posted is not None)

    def weighed(self, count: int) -> Bitmap:
        """Of the first `count` rows those that have weights."""
        return Bitmap(np.array(self._weighed[:count], np.bool_), count)

    def sums(self, query: QueryTokens, count: int) -> NDArray[np.int64]:
        """Of the first `count` rows the sums of products of weights; 0 for a row that holds no token of the query."""
        found = np.zeros(count, np.int64)
        for token, weight in zip(query.tokens.tolist(), query.weights.tolist(), strict=True):
            postings = self._by_token.get(token)
            if postings is None:
                continue
            rows = np.array(postings.rows[:], np.int64)  # of a copy: while NumPy reads an array, it cannot be added to
            rows = rows[: np.searchsorted(rows, count)]
            found[rows] += weight * np.array(postings.impacts[: len(rows)], np.int64)
        return found


def _mark(model: str) -> bytes:
    return hashlib.sha256(model.encode()).digest()[:_MODEL_BYTES]
