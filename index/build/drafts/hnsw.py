"""The file of FAISS for links that are there already: an HNSW with upper levels from samples.

FAISS begins at one vertex of the highest level and goes down; our walk has a root of its own and reads level 0 alone.
"""

import numpy as np
from numpy.typing import NDArray

from index.build.drafts.drafting import Draft
from index.disk.codes import Metric
from index.disk.layout import DEGREE
from index.search.untyped import FaissIndex, faiss, faiss_metric

_SEED = 11
_UPPER = DEGREE // 2  # links of a vertex above level 0, as FAISS counts the degree of a graph
_MOST_LEVELS = 8
_ROWS_AT_ONCE = 65536


def level0(index: FaissIndex) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """The links of all levels, a view, and where each vertex's begin: those of level 0, DEGREE of them."""
    starts = faiss.vector_to_array(index.hnsw.offsets).astype(np.int64)[:-1]
    return faiss.rev_swig_ptr(index.hnsw.neighbors.data(), index.hnsw.neighbors.size()), starts


def set_links(index: FaissIndex, links: NDArray[np.int32]) -> None:
    """Those of level 0, (n, DEGREE), −1 for none."""
    neighbours, starts = level0(index)
    for first in range(0, len(links), _ROWS_AT_ONCE):
        some = slice(first, first + _ROWS_AT_ONCE)
        neighbours[starts[some, None] + np.arange(DEGREE)] = links[some]


def levels_of(count: int, without: NDArray[np.int64]) -> NDArray[np.int32]:
    """How many levels each vertex is in: a sixteenth of those of a level are in the next. `without`: in one alone."""
    drawn = np.random.default_rng(_SEED).random(count)
    drawn[without] = 1.0
    levels = np.ones(count, np.int32)
    for level in range(1, _MOST_LEVELS):
        levels += drawn < float(_UPPER) ** -level
    return levels


def without_rows(draft: Draft, dim: int, metric: Metric, held_out: NDArray[np.int64]) -> FaissIndex:
    """The index of a finished draft; its storage is empty still."""
    index = faiss.IndexHNSWFlat(dim, _UPPER, faiss_metric(metric))
    levels = levels_of(len(draft.links), held_out)
    faiss.copy_array_to_vector(levels, index.hnsw.levels)
    index.hnsw.max_level = index.hnsw.prepare_level_tab(len(levels), True)
    index.hnsw.entry_point = int(np.argmax(levels))
    set_links(index, draft.links)
    neighbours, starts = level0(index)
    for level in range(1, int(levels.max())):
        members = np.flatnonzero(levels > level)
        first = starts[members] + DEGREE + (level - 1) * _UPPER
        neighbours[first[:, None] + np.arange(_UPPER)] = draft.among(members.astype(np.int32), _UPPER)[members]
    return index
