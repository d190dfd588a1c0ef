"""The documents that a request behind a router has met: rows are numbers that are given out as they come, and mean
nothing beyond the request."""

from __future__ import annotations

import binascii
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from msgspec import Raw

from index import TopK
from index.search.lexical.words import Matched
from index.shards.merge import best_places
from service.query.searched import RankedRows
from service.rerank.reranking import READ
from service.wire.parts import PartAnswer, PartDocument, PartList, Without
from service.wire.request.search import SearchRequest


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


class RoutedFound:
    """What all shards found of vectors, merged: up to k rows of each."""

    def __init__(self, ranked: list[RankedRows], k: int, cpu_s: float) -> None:
        self._ranked, self._k, self.cpu_s = ranked, k, cpu_s

    def of(self, query: int) -> RankedRows:
        return self._ranked[query]

    @property
    def found(self) -> TopK:
        shape = len(self._ranked), self._k
        rows, scores = np.full(shape, -1, np.int64), np.full(shape, -np.inf, np.float32)
        for query, each in enumerate(self._ranked):
            rows[query, : len(each.rows)], scores[query, : len(each.rows)] = each.rows, each.scores
        return TopK(rows, scores, np.array([each.scored for each in self._ranked], np.int64))


class RoutedRows:
    """The documents that a request has met.

    Args:
        integers: whether ids are, and are sorted as such.
    """

    def __init__(self, integers: bool) -> None:
        self._integers = integers
        self._row: dict[str, int] = {}
        self._ids: list[str] = []
        self.external_id = self._ids.__getitem__  # of a row
        self._values: dict[int, Any] = {}
        self.seq = 0  # the largest of the shards that were asked
        self._vectors: dict[int, np.ndarray[tuple[int], np.dtype[np.float32]]] = {}

    def row(self, id_: str) -> int:
        row = self._row.get(id_)
        if row is None:
            row = self._row[id_] = len(self._ids)
            self._ids.append(id_)
        return row

    def best_of(self, lists: Sequence[PartList], k: int, payloads: dict[int, Raw]) -> RankedRows:
        """The best k of all shards' lists; no others are met.

        Args:
            payloads: gets what came with them, of those who want the same fields.
        """
        scores = [score for each in lists for score in each.scores]
        ids = [id_ for each in lists for id_ in each.ids]
        best = best_places(scores, k, lambda place: self.order_of(ids[place]))
        rows = [self.row(ids[place]) for place in best]
        if any(each.payloads for each in lists):
            there = [payload for each in lists for payload in _padded(each.payloads, len(each.ids))]
            for row, place in zip(rows, best, strict=True):
                if (payload := there[place]) is not None:
                    payloads[row] = payload
        if lists and lists[0].values is not None:
            values = [value for each in lists for value in each.values or ()]
            self._values.update(zip(rows, [values[place] for place in best], strict=True))
        return RankedRows(rows, [scores[place] for place in best], sum([each.scored for each in lists]))

    def matched(self, lists: Sequence[PartList], k: int, payloads: dict[int, Raw]) -> Matched:
        """As `best_of`, of rankings of a text."""
        ranked = self.best_of(lists, k, payloads)
        return Matched(np.array(ranked.rows, np.int64), np.array(ranked.scores, np.float32))

    def take_document(self, document: PartDocument, payloads: dict[int, Raw]) -> int:
        row = self.row(document.id)
        payloads[row] = document.payload
        if document.vector is not None:
            self._vectors[row] = np.frombuffer(binascii.a2b_base64(document.vector), "<f4").astype(np.float32)
        return row

    def order(self, row: int) -> Any:
        return self.order_of(self._ids[row])

    def order_of(self, id_: str) -> Any:
        return int(id_) if self._integers else id_.encode(errors="surrogatepass")

    def value(self, _name: str, row: int) -> Any:
        return self._values[row]

    def vector(self, row: int) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
        return self._vectors[row]


def _padded(payloads: list[Raw], count: int) -> Iterable[Raw | None]:
    """Of a list of `count` rows, of which only the first may have come with theirs."""
    return payloads if len(payloads) == count else [*payloads, *[None] * (count - len(payloads))]


def looked_at(query: SearchRequest) -> int:
    """How many rows of a query are, with the documents that it asks to be similar to and unlike."""
    read = 0 if query.rerank is None else query.rerank.top or READ
    return max(query.k, read) + (query.id is not None) + len(query.ids or ()) + len(query.not_ids or ())


def spent_s(said: Sequence[PartAnswer]) -> float:
    """Processor time of what shards did."""
    return sum([part.cpu_ms for part in said]) / 1e3


def held_in_all(said: Sequence[PartAnswer]) -> dict[str, int]:
    """Of the words that no generation holds and changes do: how many changes of all shards hold each."""
    held = defaultdict[str, int](int)
    for part in said:
        for word, count in part.held.items():
            held[word] += count
    return dict(held)
