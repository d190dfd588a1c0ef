"""What one search of a served generation takes, and what a search by vectors found there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from index import TopK
from service.query.searched import RankedRows


@dataclass
class Pace:
    """Seconds that one search takes: as measured when the generation was loaded, and the last one by words and the last
    one by sparse weights."""

    ann_s: float
    exact_s: float
    words_s: float = 0.0
    sparse_s: float = 0.0


class SearchedHere(NamedTuple):
    found: TopK
    cpu_s: float

    def of(self, query: int) -> RankedRows:
        rows, scores, scored = self.found
        return RankedRows(rows[query].tolist(), scores[query].tolist(), int(scored[query]))
