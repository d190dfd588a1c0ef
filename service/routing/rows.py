"""The documents that a request behind a router has met: rows are numbers that are given out as they come, and mean
nothing beyond the request."""

from __future__ import annotations

import binascii
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from msgspec import Raw

from index.shards.merge import places
from service.wire.parts import PartDocument, PartList, Without


@dataclass
class RoutedSurvivors:
    """What filters keep in all shards. count: as the shards said when they were asked; 0 before.

    Args:
        filters: JSON of each.
    """

    filters: Sequence[bytes] = ()
    without: Without | None = None
    count: int = 0
    held: set[int] = field(default_factory=set)

    def holds(self, row: int) -> bool:
        """Of the document that a query asks to be similar to."""
        return row in self.held


class RoutedRows:
    """The documents that a request has met.

    Args:
        integers: whether ids are, and are sorted as such.
    """

    def __init__(self, integers: bool) -> None:
        self._integers = integers
        self._row: dict[str, int] = {}
        self._ids: list[str] = []
        self._values: dict[int, Any] = {}
        self.seq = 0  # the largest of the shards that were asked
        self._vectors: dict[int, np.ndarray[tuple[int], np.dtype[np.float32]]] = {}

    def row(self, id_: str) -> int:
        row = self._row.get(id_)
        if row is None:
            row = self._row[id_] = len(self._ids)
            self._ids.append(id_)
        return row

    def best(self, lists: Sequence[PartList], k: int, payloads: dict[int, Raw]) -> tuple[list[int], list[float]]:
        """The rows and scores of the best k of all shards' lists; no others are met. What came with them of payloads
        goes to `payloads`, which is of those who want the same fields."""
        rows, scores = [], []
        for score, part, place in places(
            [each.scores for each in lists], k, lambda part, place: self.order_of(lists[part].ids[place])
        ):
            ranked = lists[part]
            row = self.row(ranked.ids[place])
            if ranked.values is not None:
                self._values[row] = ranked.values[place]
            if place < len(ranked.payloads):
                payloads[row] = ranked.payloads[place]
            rows.append(row)
            scores.append(score)
        return rows, scores

    def take_document(self, document: PartDocument, payloads: dict[int, Raw]) -> int:
        row = self.row(document.id)
        payloads[row] = document.payload
        if document.vector is not None:
            self._vectors[row] = np.frombuffer(binascii.a2b_base64(document.vector), "<f4").astype(np.float32)
        return row

    def external_id(self, row: int) -> str:
        return self._ids[row]

    def order(self, row: int) -> Any:
        return self.order_of(self._ids[row])

    def order_of(self, id_: str) -> Any:
        return int(id_) if self._integers else id_.encode(errors="surrogatepass")

    def value(self, _name: str, row: int) -> Any:
        return self._values[row]

    def vector(self, row: int) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
        return self._vectors[row]
