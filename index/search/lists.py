"""Search of inverted lists: FAISS finds candidates by their codes, and the kernels score the best in float32."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from index.search.bitmap import Bitmap
from index.search.exact import TopK
from index.search.finding import WALK, SearchPlan
from index.search.rescoring import rescore
from index.search.untyped import FaissIndex, faiss

EFFORT_UNIT = "nprobe"


# Candidates for each hit asked for. 4 lost up to 0.001 of recall@10 on the set above, 10 nothing, 20 cost time.
RESCORED = 10


class IvfSearch:
    """Searches FAISS lists; `vectors` are the float32 rows that candidates are scored with again."""

    def __init__(self, index: FaissIndex, vectors: NDArray[np.float32], threads: int) -> None:
        self._index, self.vectors, self._threads = index, vectors, threads

    def search(
        self, queries: NDArray[np.float32], k: int, effort: int, keep: Bitmap | None = None, plan: SearchPlan = WALK
    ) -> TopK:
        """The best k of RESCORED · k candidates, none where the plan's budget is spent.

        What was compared is estimated: the mean list by nprobe."""
        faiss.omp_set_num_threads(self._threads)
        lists, wanted = int(self._index.nlist), min(k * RESCORED, len(self.vectors))
        if keep is None:
            probed = min(effort, lists)
            _, rows = self._index.search(queries, wanted, params=faiss.SearchParametersIVF(nprobe=probed))
        else:
            rows, probed = self._through(queries, min(wanted, keep.count), effort, keep, plan.budget)
        compared = lists + int(self._index.ntotal) * probed // lists
        scored = np.full(len(queries), compared, np.int64)
        return rescore(queries, self.vectors, rows, scored, k, l2=self._index.metric_type == faiss.METRIC_L2)

    def _through(
        self, queries: NDArray[np.float32], wanted: int, effort: int, keep: Bitmap, budget: int
    ) -> tuple[NDArray[np.int64], int]:
        """Candidates through a filter, and the lists visited for the query that needed most.

        The nearest survivors lie in as many more lists as rows are dropped; where they lie elsewhere than the query,
        the lists near it hold too few, and twice as many are visited until there are enough, or the budget is spent.
        """
        lists = int(self._index.nlist)
        packed = keep.words.view(np.uint8)
        selector = faiss.IDSelectorBitmap(len(packed), faiss.swig_ptr(packed))
        rows = np.full((len(queries), wanted), -1, np.int64)
        todo = np.arange(len(queries))
        probed = min(lists, int(effort * len(self.vectors) / max(1, keep.count)))
        while True:
            parameters = faiss.SearchParametersIVF(nprobe=probed, sel=selector)
            _, rows[todo] = self._index.search(np.ascontiguousarray(queries[todo]), wanted, params=parameters)
            todo = todo[rows[todo, -1] < 0]
            if not len(todo) or probed == lists:
                return rows, probed
            if budget and 2 * probed * len(self.vectors) > budget * lists:
                rows[todo] = -1
                return rows, probed
            probed = min(lists, 2 * probed)
