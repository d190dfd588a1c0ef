"""The shards of an index opened in one process, and searched as one: what `perwatt search`, `eval` and `tune` do.

Rows of each shard follow those of the one before it. Every search asks all of them and merges, so with `exact` ids and
scores are those of an index in one piece.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

from index.search.exact import TopK
from index.search.filtering import Filter
from index.search.finding import Effort
from index.search.lexical.words import Matched
from index.shards.merge import Ranked, merge


class ShardRows:
    """Of what each shard is searched by: a generation, or a view of one with its changes.

    Args:
        shards: as `changes.view.Searchable`, in the order of their numbers.
        integers: whether ids are, and are sorted as such.
    """

    def __init__(self, shards: Sequence[Any], integers: bool) -> None:
        self._shards, self._integers = tuple(shards), integers
        self._starts = [0, *accumulate(shard.rows for shard in shards)]
        self.rows = self._starts[-1]

    @property
    def count(self) -> int:
        return sum(shard.count for shard in self._shards)

    def survivors(self, filter_: Filter) -> list[Any]:
        """What a filter keeps of each shard. Raises as theirs."""
        return [shard.survivors(filter_) for shard in self._shards]

    def search_rows(
        self,
        queries: NDArray[np.float32],
        k: int,
        effort: Effort | None = None,
        exact: bool = False,
        keep: Any = None,
    ) -> TopK:
        """As `Generation.search_rows`; `keep` as `survivors` gives it."""
        kept = keep or [None] * len(self._shards)
        found = [
            shard.search_rows(queries, k, effort, exact, each) for shard, each in zip(self._shards, kept, strict=True)
        ]
        count = len(queries)
        best = TopK(
            np.full((count, k), -1, np.int64),
            np.full((count, k), -np.inf, np.float32),
            np.sum([each.scored for each in found], axis=0),
        )
        for query in range(count):
            parts = []
            for start, each in zip(self._starts, found, strict=False):
                there = each.rows[query] >= 0
                parts.append(Ranked(each.rows[query][there] + start, each.scores[query][there]))
            ranked = merge(parts, k, self.order)
            best.rows[query, : len(ranked.rows)], best.scores[query, : len(ranked.rows)] = ranked
        return best

    def search_words(self, text: str, k: int, filter_: Filter | None = None, exact: bool = False) -> Matched:
        """As `Generation.search_words`."""
        held = Counter[str]()
        for shard in self._shards:
            held.update(shard.new_words(text))
        found = [shard.search_words(text, k, filter_, exact, held) for shard in self._shards]
        parts = [Ranked(each.rows + start, each.scores) for start, each in zip(self._starts, found, strict=False)]
        return Matched(*merge(parts, k, self.order))

    def search_sparse(self, text: str, k: int, keep: Any = None) -> Matched:
        """As `Generation.search_sparse`; `keep` as `survivors` gives it."""
        kept = keep or [None] * len(self._shards)
        found = [shard.search_sparse(text, k, each) for shard, each in zip(self._shards, kept, strict=True)]
        parts = [Ranked(each.rows + start, each.scores) for start, each in zip(self._starts, found, strict=False)]
        return Matched(*merge(parts, k, self.order))

    def order(self, row: int) -> Any:
        """What rows are sorted by where their scores are equal."""
        id_ = self.external_id(row)
        return int(id_) if self._integers else id_.encode(errors="surrogatepass")

    def external_id(self, row: int) -> str:
        shard, row = self._at(row)
        return str(shard.external_id(row))

    def payload(self, row: int) -> bytes:
        shard, row = self._at(row)
        return bytes(shard.payload(row))

    def row_of(self, id_: str) -> int | None:
        for start, shard in zip(self._starts, self._shards, strict=False):
            row = shard.row_of(id_)
            if row is not None:
                return int(start + row)
        return None

    def _at(self, row: int) -> tuple[Any, int]:
        number = bisect_right(self._starts, row) - 1
        return self._shards[number], row - self._starts[number]
