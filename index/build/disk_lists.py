"""Lists for sets that are larger than memory: codes of one bit in memory, and rows that are read from the disk.

The rows are read twice, some thousands at a time: once for the list of each, whose centre is the nearest, and once for
its code and its record. What is held meanwhile is a sample to find the centres with, the list of every row, and the
codes. So a build takes some 100 bytes a row, whatever the dimensions beyond the codes'.

Held-out rows have records from the beginning, but come into their lists last, so that recall is measured with queries
that the lists have never seen.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from index.build.ivf import list_count
from index.disk.codes import Metric
from index.disk.lists import (
    CENTRES_FILE,
    GROUPS_FILE,
    RECORDS_FILE,
    ROWS_A_GROUP,
    STARTS_FILE,
    ListsLayout,
    padded_size,
)
from index.disk.sections import FloatRows
from index.kernels import _native
from index.progress import Progress
from index.search.disk_lists import DiskLists
from index.search.untyped import FaissIndex, faiss

_ROWS_PER_STEP = 16384
_TRAINING_ROWS_PER_LIST = 64
_TRAINING_ROWS = 1 << 18  # at most: 400 MB of float32 at 384 dimensions
_ROUNDS = 10
_FRAME_ROWS = 1 << 14
_SEED = 1234


def build(
    folder: Path,
    rows: FloatRows,
    metric: Metric,
    held_out: NDArray[np.int64],
    measure: Callable[[DiskLists], None],
    threads: int,
    *,
    show: bool,
) -> tuple[DiskLists, dict[str, Any]]:
    """The lists of all rows, in the folder, and what the manifest says of them; `measure` is called when all but the
    held-out ones are in them."""
    count, dim = rows.array.shape
    l2 = metric == "l2"
    kept = np.setdiff1d(np.arange(count), held_out)
    faiss.omp_set_num_threads(threads)
    frame, index = _trained(rows, kept, l2, show=show)
    with Progress("lists", count, show=show) as progress:
        lists = _nearest(rows, index, progress)
    starts, slots = _places(lists, index.ntotal, held_out)
    centres = np.zeros(dim_bytes(dim) + index.ntotal * _native.centre_bytes(dim), np.uint8)
    _native.encode_centres(frame, index.reconstruct_n(0, index.ntotal), l2, centres)
    _write(folder / CENTRES_FILE, centres)
    _write(folder / STARTS_FILE, starts)
    groups = _reserved(folder / GROUPS_FILE, int(starts[-1]) * _native.group_bytes(dim))
    _native.empty_groups(dim, groups)
    numbers = np.arange(count, dtype=np.int32)
    first = slots.copy()
    first[held_out] = -1
    norms = np.zeros(2)
    with (folder / RECORDS_FILE).open("wb") as file, Progress("records", count, show=show) as progress:
        step = _step(dim)
        records = np.empty(_native.bytes_of_records(dim, step), np.uint8)
        for start in range(0, count, step):
            some = slice(start, min(start + step, count))
            part = records[: _native.bytes_of_records(dim, some.stop - start)]
            longest = _native.encode_rows(
                frame, centres, rows.array[some], l2, lists[some], first[some], numbers[some], groups, part, threads
            )
            norms = np.maximum(norms, longest)
            file.write(part.data)
            rows.drop()
            progress.add(some.stop - start)
        file.write(b"\0" * (padded_size(file.tell()) - file.tell()))
    layout = ListsLayout(
        groups,
        starts,
        centres,
        folder / RECORDS_FILE,
        count,
        dim,
        l2,
        float(frame[-1]),
        float(norms[0]),
        float(norms[1]),
    )
    searcher = DiskLists(layout, metric, threads)
    measure(searcher)
    late = np.ascontiguousarray(rows.array[held_out])
    _native.encode_rows(
        frame, centres, late, l2, lists[held_out], slots[held_out], numbers[held_out], groups, None, threads
    )
    groups.flush()
    return searcher, layout.sections()


def dim_bytes(dim: int) -> int:
    """Of the floats in front of the centres: what is taken off a vector in the frame."""
    return (_native.sieve_frame_floats(dim) - 1) // 2 * 4


def _step(dim: int) -> int:
    """Rows of one step, whose records fill whole pages."""
    return _ROWS_PER_STEP // max(1, _native.records_a_page(dim)) * max(1, _native.records_a_page(dim))


def _trained(
    rows: FloatRows, kept: NDArray[np.int64], l2: bool, *, show: bool
) -> tuple[NDArray[np.float32], FaissIndex]:
    """The frame, and FAISS's index of the centres, in which the nearest is looked up."""
    count, dim = rows.array.shape
    lists = list_count(count)
    random = np.random.default_rng(_SEED)
    wanted = min(len(kept), max(lists, min(lists * _TRAINING_ROWS_PER_LIST, _TRAINING_ROWS)))
    sample = rows.array[np.sort(random.choice(kept, wanted, replace=False))]
    rows.drop()
    frame = np.empty(_native.sieve_frame_floats(dim), np.float32)
    some = np.ascontiguousarray(sample[:: max(1, len(sample) // _FRAME_ROWS)])
    _native.sieve_frame(some, l2, frame)
    parameters = faiss.ClusteringParameters()
    parameters.niter, parameters.seed = _ROUNDS, _SEED
    # Small sets are asked for by name; FAISS would only warn about them.
    parameters.min_points_per_centroid, parameters.max_points_per_centroid = 1, len(sample)
    clustering = faiss.Clustering(dim, lists, parameters)
    index = faiss.IndexFlatL2(dim)
    with Progress("train", len(sample), show=show) as progress:
        clustering.train(sample, index)
        progress.add(len(sample))
    return frame, index


def _nearest(rows: FloatRows, index: FaissIndex, progress: Progress) -> NDArray[np.int32]:
    count = len(rows.array)
    lists = np.empty(count, np.int32)
    for start in range(0, count, _ROWS_PER_STEP):
        part = rows.array[start : start + _ROWS_PER_STEP]
        lists[start : start + len(part)] = index.search(part, 1)[1][:, 0]
        rows.drop()
        progress.add(len(part))
    return lists


def _places(
    lists: NDArray[np.int32], count: int, held_out: NDArray[np.int64]
) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """Where each list begins, in groups, and the slot of each row: in the order of the rows, the held-out ones last."""
    sizes = np.bincount(lists, minlength=count)
    starts = np.concatenate([[0], np.cumsum(-(-sizes // ROWS_A_GROUP))])
    late = lists * 2
    late[held_out] += 1
    order = np.argsort(late, kind="stable")
    before = np.concatenate([[0], np.cumsum(sizes)])[:-1]
    slots = np.empty(len(lists), np.int64)
    slots[order] = np.arange(len(lists)) - np.repeat(before - starts[:-1] * ROWS_A_GROUP, sizes)
    return starts.astype(np.uint32), slots


def _reserved(path: Path, size: int) -> Any:
    """A section of that size, mapped; the array of its bytes."""
    with path.open("wb") as file:
        # Reserved, not only sized: on a full disk a store into a mapping would end the process, not this call.
        os.posix_fallocate(file.fileno(), 0, padded_size(size))
    return np.memmap(path, np.uint8, "r+")[:size]


def _write(path: Path, array: NDArray[Any]) -> None:
    with path.open("wb") as file:
        file.write(array.data)
        file.write(b"\0" * (padded_size(array.nbytes) - array.nbytes))
