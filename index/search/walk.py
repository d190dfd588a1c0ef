"""The walk over a graph's search layout: what an effort means, filters, threads. The kernels do the rest.

Effort is in hundredths of the standard error of an estimate, and 100 is its zero: at 100 a vertex is visited when it
is estimated to be better than the k-th best found, at 200 already when that is one standard error away; below 100 it
must be better by as much. So an effort means the same at any number of dimensions and any scale.

A layout of the profile speed has two ways to a vertex's neighbours (index/kernels/graph.hpp): by codes of the edges to
them, which lie in its block, or by their spokes, of which a walk reads those of the neighbours that it has not met. The
longer a walk, the fewer these are.
"""

import numpy as np
from numpy.typing import NDArray

from index.disk.layout import Layout
from index.search.bitmap import Bitmap
from index.search.exact import TopK
from index.search.finding import NO_WALK, WALK, LongWalks, SearchPlan

EFFORT_UNIT = "margin"  # of the walk, as above
EFFORTS = (10, 25, 50, 75, 100, 125, 150, 175, 200, 230, 260, 300, 350, 420, 500, 600, 800, 1000, 1400, 2000)
_ZERO = 100
# Candidates that wait: enough that none is missed at recall@10 0.99 and recall@100 0.98 (100,000 × 384, 50,000 × 128),
# and no more: twice as many cost 5 % at k = 10. A filter makes it as many more as it drops rows around the query, up to
# _WIDEST times: what leads to the survivors may be dropped itself. (100,000 × 384, a tenth survives:
# recall@10 0.98 instead of 0.89, which is above that without a filter, and half the time, since no walk falls short.)
_WAITING, _WAITING_PER_HIT, _WIDEST = 32, 7, 128
# Where more than half survive, the way to them leads over survivors, so less time goes to what is dropped: its
# estimates are lowered by up to this share of the margin, and the frontier grows by less. With a fifth of the rows
# dropped a walk then takes 1.09 to 1.13 times as long as without a filter, and took 1.17 to 1.37. Recall@10 is 0.9975
# where it was 0.9978 (without a filter 0.9982), and 0.9474 where it was 0.9532 (0.9414). (50,000 and 250,000 rows of
# 384 dimensions, avx512amx.)
_HANDICAP = 2 / 3


class Walk:
    """Searches a layout; `vectors` are the float32 rows (n, dim), in which the best are scored in the end. None: they
    were dropped, and the layout has rests, which restore them.

    `renumber` gives each vertex its row, while they differ. `by_spokes`: which searches go by them, where there is
    another way. Safe to use from several threads.
    """

    def __init__(
        self,
        layout: Layout,
        vectors: NDArray[np.float32] | None,
        threads: int,
        renumber: NDArray[np.int64] | None = None,
        by_spokes: LongWalks = NO_WALK,
    ) -> None:
        self._graph, self.vectors, self._count = layout.graph(), vectors, layout.count
        self._threads, self._renumber, self._by_spokes = threads, renumber, by_spokes

    def search(
        self, queries: NDArray[np.float32], k: int, effort: int, keep: Bitmap | None = None, plan: SearchPlan = WALK
    ) -> TopK:
        """The best k ≤ n that the walk finds, −1 where it finds fewer, or gives up by the plan. `scored` counts vectors
        scored from their codes; neighbours that were only estimated are not in it."""
        margin = (effort - _ZERO) / 100
        frontier = (_WAITING + _WAITING_PER_HIT * k) * (1 + max(0.0, margin) ** 2 / 4)
        frontier, share = min(max(32, self._count), frontier, 1 << 24), 1.0
        room = frontier
        if keep is not None:
            share = max(1, keep.count) / self._count
            room = min(max(32, self._count), _WIDEST * frontier, 1 << 24)
        words = None if keep is None else keep.words
        count = len(queries)
        found = TopK(np.empty((count, k), np.int64), np.empty((count, k), np.float32), np.empty(count, np.int64))
        self._graph.search(
            queries, self.vectors, margin, int(frontier), words, *found, self._threads, share=share, room=int(room),
            handicap=_HANDICAP * max(0.0, margin), trial=plan.trial, least_share=plan.least_share, budget=plan.budget,
            most=plan.most, enough=plan.enough, by_spokes=self._by_spokes.begin(k, effort),
        )  # fmt: skip
        if self._renumber is not None:
            return found._replace(rows=np.where(found.rows >= 0, self._renumber[found.rows], -1))
        return found
