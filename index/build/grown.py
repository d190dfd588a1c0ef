"""A graph to go on from: that of the generation before, without the rows that were changed or deleted.

What is left keeps its place in FAISS's levels and its refined links; links to rows that are gone are dropped. New rows
are then added to it as to any graph, and only they, and what lost many links, are refined. The rows that recall is
measured with are taken out like deleted ones and added at the end, so that the measure is that of a graph built from
nothing.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from index.build.families import grown_bytes, mib
from index.changes.fold import Folded
from index.disk.codes import Metric
from index.disk.layout import DEGREE
from index.progress import say
from index.search.generation import Generation
from index.search.structure import INDEX_FILE
from index.search.untyped import FaissIndex, faiss

# Changed rows, of all: beyond it a graph from nothing is hardly dearer, and a little better.
MOST_CHANGED = 0.2
# Times the effort of the graph before; beyond it, a graph from nothing is built after all. Less than that is chance:
# efforts are tried in steps of some 1.2.
DEARER = 1.35
WORN = 0.1  # of a vertex's links: when more are gone, it is refined like a new one


class Before(NamedTuple):
    """A graph of FAISS on disk, and of each row to be built the row that it has there; −1 for new ones. generation: its
    name; effort: what that needs for its recall."""

    generation: str
    index_file: Path
    effort: int
    rows: NDArray[np.int64]


def before_of(
    source: object, ids: Sequence[str] | Sequence[int], metric: Metric, memory_limit_bytes: int, *, show: bool
) -> Before | None:
    """What a graph of these rows can go on from; None where there is nothing, too much has changed, or it would need
    more memory than a graph from nothing, and more than there is."""
    if not isinstance(source, Folded) or not isinstance(source.base, Generation):
        return None
    base = source.base
    if base.family != "graph" or base.metric != metric or source.changed > MOST_CHANGED * len(ids):
        return None
    need = grown_bytes(len(ids), base.dim)
    if need > memory_limit_bytes:
        what = f"to go on from the graph of {base.id} needs {mib(need)}, and {mib(memory_limit_bytes)} may be used"
        say(f"{what}: building one from nothing", show=show)
        return None
    kept = [row for row in range(base.count) if base.external_id(row) not in source.changed_ids]
    rows = np.full(len(ids), -1, np.int64)
    stays = np.array([str(id_) not in source.changed_ids for id_ in ids])
    rows[stays] = kept
    return Before(base.id, base.path / INDEX_FILE, base.default_effort, rows)


class Begun(NamedTuple):
    """rows: of those to be built, the ones that the index holds, in its order. worn: places of those that lost many
    links."""

    index: FaissIndex
    rows: NDArray[np.int64]
    worn: NDArray[np.int64]


def begin(before: Before, vectors: NDArray[np.float32], kept: NDArray[np.int64]) -> Begun:
    """The graph before, of those of the rows `kept` that it holds. vectors: of all rows that are to be built."""
    base = faiss.read_index(str(before.index_file), faiss.IO_FLAG_SKIP_STORAGE)  # the rows are at hand
    rows = kept[before.rows[kept] >= 0]
    olds = before.rows[rows]
    levels, offsets = (faiss.vector_to_array(each).astype(np.int64) for each in (base.hnsw.levels, base.hnsw.offsets))
    every = faiss.rev_swig_ptr(base.hnsw.neighbors.data(), base.hnsw.neighbors.size())
    place = np.full(len(levels), -1, np.int32)
    place[olds] = np.arange(len(olds), dtype=np.int32)
    sizes = np.diff(offsets)[olds]
    starts = np.concatenate([[0], np.cumsum(sizes)])
    links = every[np.repeat(offsets[olds] - starts[:-1], sizes) + np.arange(starts[-1])]
    had = links[starts[:-1, None] + np.arange(DEGREE)] >= 0
    links = np.where(links >= 0, place[links], np.int32(-1))
    worn = _closed_up(links, starts, levels[olds], had)
    made = faiss.IndexHNSWFlat(base.d, DEGREE // 2, base.metric_type)
    faiss.copy_array_to_vector(levels[olds].astype(np.int32), made.hnsw.levels)
    made.hnsw.max_level = made.hnsw.prepare_level_tab(len(olds), True)
    made.hnsw.entry_point = int(np.argmax(levels[olds])) if len(olds) else -1
    faiss.rev_swig_ptr(made.hnsw.neighbors.data(), made.hnsw.neighbors.size())[:] = links
    del base
    made.storage.add(np.ascontiguousarray(vectors[rows]))
    made.ntotal = len(olds)
    return Begun(made, rows, worn)


def _closed_up(
    links: NDArray[np.int32], starts: NDArray[np.int64], levels: NDArray[np.int64], had: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """Moves what is left of each list to its front, in its order, where FAISS looks for it. Returns who lost many."""
    for level in range(int(levels.max(initial=0))):
        width = DEGREE if level == 0 else DEGREE // 2
        first = starts[:-1][levels > level] + (0 if level == 0 else DEGREE + (level - 1) * width)
        lists = links[first[:, None] + np.arange(width)]
        gaps = (lists[:, :-1] < 0) & (lists[:, 1:] >= 0)
        broken = np.flatnonzero(gaps.any(axis=1))
        order = np.argsort(lists[broken] < 0, axis=1, kind="stable")
        links[first[broken, None] + np.arange(width)] = np.take_along_axis(lists[broken], order, axis=1)
    left = (links[starts[:-1, None] + np.arange(DEGREE)] >= 0).sum(axis=1)
    return np.flatnonzero(left < (1 - WORN) * had.sum(axis=1))
