"""The graph family: our builder drafts links, or FAISS's small-world graph is refined, and our kernels walk them.

own (drafts/): all rows with all inside overlapping parts. The default: quicker, and the same graph on any machine.
quick: the same, in fewer parts and with fewer candidates.
faiss: a quick, rough graph (Malkov and Yashunin, 2016) of which two passes of refinement (index/kernels/refine.cpp)
look around each vertex with the walk itself.

Either way index.faiss is a stock IndexHNSWFlat, which FAISS opens and searches. It holds the float32 rows too, unless
originals are dropped: then it is the graph alone, for the next build to go on from. What serves is the search layout
beside it (disk/layout.py).

Links are about distance whatever is searched for. For inner products of vectors that are not all of one length,
distance is taken after one more dimension has made them so (Bachrach et al., RecSys 2014): among such vectors the
nearest and the greatest product are the same.

Held-out rows are added after the rest, so that recall is measured with queries that the graph has never seen; the
graph is then permuted into row order.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from index.build.drafts import drafting, hnsw
from index.build.drafts.drafting import Draft
from index.build.drafts.lengths import of_one_length, rows_of_one_length
from index.build.drafts.parcels import SharedParts
from index.build.grown import Before, Begun, begin
from index.disk import layout
from index.disk.codes import Metric
from index.disk.layout import DEGREE, Layout, Originals, Profile
from index.disk.section_files import SectionFiles
from index.disk.sections import FloatRows
from index.progress import Progress
from index.search.finding import NO_WALK, LongWalks
from index.search.untyped import FaissIndex, faiss, faiss_metric, float_rows
from index.search.walk import Walk

Builder = Literal["faiss", "own", "quick"]
TryBoth = Callable[
    [Callable[[Profile], Layout], Callable[[Layout, LongWalks], Walk], float | None], tuple[Profile, Layout]
]
TryWays = Callable[[Callable[[LongWalks], Walk]], LongWalks]
Measure = Callable[[Walk, Walk | None], None]
BUILDERS: tuple[str, ...] = get_args(Builder)
BUILD_EFFORT = 20  # efConstruction of the rough graph; from 40 the refined one is no better, and costs a half more
# Walks of a pass: results that decide when one stops, and candidates that it hands over.
PASSES = ((20, 60), (60, 180))
_ROWS_PER_ADD = 4096


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
    try_ways: TryWays,
    show: bool,
    before: Before | None = None,
    builder: Builder = "own",
    originals: Originals = "keep",
    parts: Path | None = None,
) -> tuple[FaissIndex, Layout, dict[str, Any]]:
    """The graph of all rows, its layout in the folder, and what the manifest says of that; `measure` is called when
    all but the held-out rows are in it, with its walk, and where originals are dropped one that has them still.

    profile: None: `try_both` chooses, from how each is encoded and walked.
    try_ways: chooses which walks go by spokes, where there is another way, from a walk for a choice.
    before: a graph that holds most of the rows; the others are added to it (grown.py), whatever the builder.
    parts: a folder in which others may do some of a draft (drafts/parcels.py).
    """
    count, dim = rows.array.shape
    kept = np.setdiff1d(np.arange(count), held_out)
    encoding = _Encoding(folder, metric, threads, originals, profile, try_both, try_ways)
    if before is None and builder in drafting.SETTINGS:
        return _drafted(rows, kept, held_out, measure, encoding, builder, parts, show=show)
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
        encode = partial(encoding.encode, float_rows(storage_of(index)), links, roots)
        profile = _measured(float_rows(storage_of(index)), encode, inside, encoding, measure)
        if len(held_out):
            final_roots = np.argsort(order)[layout.sampled_roots(count)]
            links = _grown(index, rows, held_out, np.zeros(0, np.int64), metric, final_roots, threads, progress)
            hnsw.set_links(index, links)
            # permute_entries wants, for each new place, the old one.
            index.permute_entries(np.argsort(order))
    index.storage.reset()  # what is left to do goes by the rows of the folder
    made, sections = layout.write(
        folder, rows.array, links_of(index), threads, l2=metric == "l2", profile=profile, originals=originals
    )
    return index, made, sections


class _Encoding(NamedTuple):
    """How the layout is made that recall is measured in; profile: None where both are to be tried."""

    folder: Path
    metric: Metric
    threads: int
    originals: Originals
    profile: Profile | None
    try_both: TryBoth
    try_ways: TryWays

    def encode(
        self, vectors: NDArray[np.float32], links: NDArray[np.int32], roots: NDArray[np.int64], profile: Profile
    ) -> Layout:
        """In files such as a server maps, which are gone once nobody reads them."""
        files, l2 = SectionFiles(self.folder, f".{profile}-"), self.metric == "l2"
        made = layout.encode(
            vectors, links, roots, self.threads, l2=l2, profile=profile, originals=self.originals, memory=files
        )
        files.remove()
        return made


def _drafted(
    rows: FloatRows,
    kept: NDArray[np.int64],
    held_out: NDArray[np.int64],
    measure: Measure,
    encoding: _Encoding,
    builder: Builder,
    parts: Path | None,
    *,
    show: bool,
) -> tuple[FaissIndex, Layout, dict[str, Any]]:
    """By our own builder (drafts/)."""
    folder, metric, threads, originals, *_ = encoding
    l2, longer_file = metric == "l2", folder / ".draft-rows"
    longer = rows_of_one_length(rows, longer_file) if metric == "ip" else rows
    served = longer is rows  # the draft's layout, if it is compact that is
    how: dict[str, Any] = {"originals": originals if served else "keep", "builder": builder, "show": show}
    how["parts"] = None if parts is None else SharedParts(parts, threads)
    draft = Draft(folder, longer.array, kept, threads, l2=l2 or not served, **how)
    rows.drop()

    def encode(profile: Profile) -> Layout:
        if served and profile == "compact":
            return draft.layout
        return encoding.encode(rows.array, draft.links, draft.roots, profile)

    profile = _measured(rows.array, encode, None, encoding, measure, draft.encoded_s)
    if len(held_out):
        draft.add(held_out)
    index = hnsw.without_rows(draft, rows.array.shape[1], metric, held_out)
    if served and profile == "compact":
        draft.files.rename("")
        made = layout.with_all_roots(draft.layout, rows.array, threads)
        sections = layout.written(folder, made, draft.files, profile, originals)
    else:
        draft.files.remove()
        made, sections = layout.write(
            folder, rows.array, draft.links, threads, l2=l2, profile=profile, originals=originals
        )
    index.ntotal = len(rows.array)
    longer_file.unlink(missing_ok=True)
    rows.drop()
    return index, made, sections


def _measured(
    vectors: NDArray[np.float32],
    encode: Callable[[Profile], Layout],
    renumber: NDArray[np.int64] | None,
    encoding: _Encoding,
    measure: Measure,
    encoded_s: float | None = None,
) -> Profile:
    """Has recall measured in a layout that is encoded, and returns its profile. encoded_s: what that of the profile
    compact has taken already."""
    profile, threads = encoding.profile, encoding.threads

    def walked(layout: Layout, ways: LongWalks) -> Walk:
        return Walk(layout, vectors, 1, renumber=renumber, by_spokes=ways)

    if profile is not None:
        rough = encode(profile)
    else:
        profile, rough = encoding.try_both(encode, walked, encoded_s)
    by_spokes = encoding.try_ways(lambda ways: walked(rough, ways)) if rough.edges else NO_WALK
    walk = Walk(rough, vectors, threads, renumber=renumber, by_spokes=by_spokes)
    if encoding.originals == "drop":
        measure(Walk(rough, None, threads, renumber=renumber, by_spokes=by_spokes), walk)
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
