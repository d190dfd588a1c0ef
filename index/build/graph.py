"""The graph family: FAISS builds a small-world graph, our kernels refine its links, and our kernels walk it.

index.faiss is a stock IndexHNSWFlat (Malkov and Yashunin, 2016), its level 0 refined: FAISS opens and searches it, with
a better recall than its own links give (100,000 × 384, efSearch 40: 0.983 against 0.974 at ten times the build effort).
It holds the float32 rows too, unless originals are dropped: then it is the graph alone, for the next build to go on
from. What serves is the search layout beside it (disk/layout.py).

FAISS is asked for a quick, rough graph; two passes of refinement (index/kernels/refine.cpp) then look around each
vertex with the walk itself. Links are about distance whatever is searched for. For inner products of vectors that are
not all of one length, distance is taken after one more dimension has made them so (Bachrach et al., RecSys 2014):
among such vectors the nearest and the greatest product are the same.

Held-out rows are added after the rest, so that recall is measured with queries that the graph has never seen; the
graph is then permuted into row order.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from index.build.drafts import hnsw
from index.build.drafts.drafting import Draft
from index.build.grown import Before, Begun, begin
from index.disk import layout
from index.disk.codes import Metric, norms
from index.disk.layout import DEGREE, Layout, Originals, Profile
from index.disk.sections import FloatRows
from index.progress import Progress
from index.search.untyped import FaissIndex, faiss, faiss_metric, float_rows
from index.search.walk import Walk

Builder = Literal["faiss", "own"]
TryBoth = Callable[[Callable[[Profile], Layout], Callable[[Layout], Walk]], tuple[Profile, Layout]]
Measure = Callable[[Walk, Walk | None], None]
BUILDERS: tuple[str, ...] = get_args(Builder)
BUILD_EFFORT = 20  # efConstruction of the rough graph; from 40 the refined one is no better, and costs a half more
# Walks of a pass: results that decide when one stops, and candidates that it hands over.
PASSES = ((20, 60), (60, 180))
_ROWS_PER_ADD = 4096
_SAME_LENGTH = 1e-3  # relative: below it, vectors count as of one length


def build(
    folder: Path,
    rows: FloatRows,
    metric: Metric,
    held_out: NDArray[np.int64],
    measure: Measure,
    threads: int,
    *,
    profile: Profile | None,
    try_both: TryBoth,
    show: bool,
    before: Before | None = None,
    builder: Builder = "faiss",
    originals: Originals = "keep",
) -> tuple[FaissIndex, Layout, dict[str, Any]]:
    """The graph of all rows, its layout in the folder, and what the manifest says of that; `measure` is called when
    all but the held-out rows are in it, with its walk, and where originals are dropped one that has them still.

    profile: None: `try_both` chooses, from how each is encoded and walked.
    before: a graph that holds most of the rows; the others are added to it (grown.py), whatever the builder.
    """
    count, dim = rows.array.shape
    kept = np.setdiff1d(np.arange(count), held_out)
    if before is None and builder == "own":
        encoding = _Encoding(metric, threads, originals, profile, try_both)
        index, links, profile = _drafted(rows, kept, held_out, measure, encoding, show=show)
        made, sections = layout.write(
            folder, rows.array, links, threads, l2=metric == "l2", profile=profile, originals=originals
        )
        # Last, since they take more memory than all the rest.
        for start in range(0, count if originals == "keep" else 0, _ROWS_PER_ADD):
            index.storage.add(rows.array[start : start + _ROWS_PER_ADD])
            rows.drop()
        index.ntotal = count
        return index, made, sections
    if before is None:
        nothing = np.zeros(0, np.int64)
        begun = Begun(faiss.IndexHNSWFlat(dim, DEGREE // 2, faiss_metric(metric)), nothing, nothing)
    else:
        begun = begin(before, rows.array, kept)
        rows.drop()
    index = begun.index
    index.hnsw.efConstruction = BUILD_EFFORT
    fresh = np.setdiff1d(kept, begun.rows)
    inside = np.concatenate([begun.rows, fresh])
    order = np.concatenate([inside, held_out])
    with Progress("graph", count, show=show) as progress:
        progress.add(len(begun.rows))
        roots = np.argsort(inside)[layout.sampled_roots(len(kept))]
        if before is None:
            _add(index, rows, fresh, threads, progress)
            links = links_of(index)
            for reach in PASSES:
                links = _refined(index, links, links, metric, roots, None, reach, threads)
        else:
            links = _grown(index, rows, fresh, begun.worn, metric, roots, threads, progress)
        hnsw.set_links(index, links)
        encoding = _Encoding(metric, threads, originals, profile, try_both)
        profile = _measured(float_rows(storage_of(index)), links, roots, inside, encoding, measure)
        if len(held_out):
            final_roots = np.argsort(order)[layout.sampled_roots(count)]
            links = _grown(index, rows, held_out, np.zeros(0, np.int64), metric, final_roots, threads, progress)
            hnsw.set_links(index, links)
            # permute_entries wants, for each new place, the old one.
            index.permute_entries(np.argsort(order))
    vectors = float_rows(storage_of(index))
    made, sections = layout.write(
        folder, vectors, links_of(index), threads, l2=metric == "l2", profile=profile, originals=originals
    )
    return index, made, sections


class _Encoding(NamedTuple):
    """How the layout is made that recall is measured in; profile: None where both are to be tried."""

    metric: Metric
    threads: int
    originals: Originals
    profile: Profile | None
    try_both: TryBoth


def _drafted(
    rows: FloatRows,
    kept: NDArray[np.int64],
    held_out: NDArray[np.int64],
    measure: Measure,
    encoding: _Encoding,
    *,
    show: bool,
) -> tuple[FaissIndex, NDArray[np.int32], Profile]:
    """The graph by our own builder (drafts/), for FAISS without rows, its links, and its profile."""
    vectors = rows.array if encoding.metric != "ip" else of_one_length(rows.array)
    draft = Draft(vectors, kept, encoding.threads, show=show)
    profile = _measured(rows.array, draft.links, draft.roots, None, encoding, measure)
    if len(held_out):
        draft.add(held_out)
    return hnsw.without_rows(draft, rows.array.shape[1], encoding.metric, held_out), draft.links, profile


def _measured(
    vectors: NDArray[np.float32],
    links: NDArray[np.int32],
    roots: NDArray[np.int64],
    renumber: NDArray[np.int64] | None,
    encoding: _Encoding,
    measure: Measure,
) -> Profile:
    """Has recall measured in a layout of these links, and returns its profile."""
    metric, threads, originals, profile, try_both = encoding
    encode = partial(layout.encode, vectors, links, roots, threads, l2=metric == "l2", originals=originals)
    if profile is not None:
        rough = encode(profile=profile)
    else:
        profile, rough = try_both(
            lambda each: encode(profile=each, memory=layout.small_pages),
            lambda each: Walk(each, vectors, 1, renumber=renumber),
        )
    walk = Walk(rough, vectors, threads, renumber=renumber)
    if originals == "drop":
        measure(Walk(rough, None, threads, renumber=renumber), walk)
    else:
        measure(walk, None)
    return profile


def _grown(
    index: FaissIndex,
    rows: FloatRows,
    fresh: NDArray[np.int64],
    worn: NDArray[np.int64],
    metric: Metric,
    roots: NDArray[np.int64],
    threads: int,
    progress: Progress,
) -> NDArray[np.int32]:
    """The links with fresh rows added, and those of them and of the worn vertices refined.

    Adding a row, FAISS cuts the lists of its neighbours by its own rule, which costs refined ones what they had gained.
    Its links are good for finding one's way while refining; what is refined is what was there before.
    """
    refined = links_of(index)
    _add(index, rows, fresh, threads, progress)
    rough = links_of(index)
    links = np.concatenate([refined, rough[len(refined) :]])
    which = np.concatenate([worn, np.arange(len(refined), len(links))]).astype(np.int32)
    return _refined(index, rough, links, metric, roots, which, PASSES[-1], threads)


def _refined(
    index: FaissIndex,
    paths: NDArray[np.int32],
    links: NDArray[np.int32],
    metric: Metric,
    roots: NDArray[np.int64],
    which: NDArray[np.int32] | None,
    reach: tuple[int, int],
    threads: int,
) -> NDArray[np.int32]:
    """The links with the lists of `which` vertices, or of all, refined by walks over `paths`."""
    vectors = float_rows(storage_of(index))
    if metric == "ip":
        vectors = of_one_length(vectors)
    # Compact whatever is served: it takes a third of the memory, and a third of the time to encode.
    encoded = layout.encode(vectors, paths, roots, threads, l2=True, profile="compact")
    out = np.empty_like(links)
    encoded.graph().refine(links, which, *reach, threads, out)
    return out


def of_one_length(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """The vectors with one more dimension that makes all as long as the longest; as they are, if they are already."""
    length = norms(vectors)
    longest = float(length.max())
    if float(length.min()) >= longest * (1 - _SAME_LENGTH) or vectors.shape[1] >= layout.MAX_DIM:
        return vectors
    rest = np.sqrt(np.maximum(longest**2 - length**2, 0.0))
    return np.concatenate([vectors, rest[:, None].astype(np.float32)], axis=1)


def storage_of(index: FaissIndex) -> FaissIndex:
    return faiss.downcast_index(index.storage)


def links_of(index: FaissIndex) -> NDArray[np.int32]:
    """Level 0 of FAISS's graph, int32 (n, DEGREE), −1 for none. A copy."""
    neighbours, starts = hnsw.level0(index)
    return np.ascontiguousarray(neighbours[starts[:, None] + np.arange(DEGREE)])


def _add(index: FaissIndex, rows: FloatRows, which: NDArray[np.int64], threads: int, progress: Progress) -> None:
    faiss.omp_set_num_threads(threads)  # OpenMP keeps it per calling thread
    for start in range(0, len(which), _ROWS_PER_ADD):
        part = which[start : start + _ROWS_PER_ADD]
        index.add(rows.array[part])
        rows.drop()
        progress.add(len(part))
