"""FAISS's inverted lists on the disk (OnDiskInvertedLists), scored again from a mapped file where that is asked for.

Both files are mapped as FAISS does it. It leaves the kernel to read ahead at each fault, up to 8 MiB where a device is
set so, of which a search wants 4 KiB. So the mappings are advised to expect reads at random places, in FAISS's favour:
it does not do that itself.
"""

from __future__ import annotations

import ctypes
import math
import mmap
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from index.bench.ann.engine import Float, Metric, Setting
from index.bench.peers.faiss import TRAINING_ROWS_PER_LIST, faiss, metric_of

LISTS_FILE, REFINE_FILE = "lists.faiss", "refine.faiss"
_ROWS_PER_ADD = 1 << 16
_MOST_TRAINING_ROWS = 1 << 18
_SEED = 20261130


class ListsOnDisk:
    """4·√n lists, the least that FAISS advises. `codes` and `refine` are its names for them; {half}, {quarter} and
    {eighth} are so many parts of the dimensions. mapped: False keeps the lists in memory, which fast scan needs."""

    reads_files = True  # of rows that do not fit in memory, it takes some at a time

    def __init__(self, codes: str, refine: str = "", *, mapped: bool = True) -> None:
        self._codes, self._refine, self._mapped = codes, refine, mapped
        self._index: Any = None
        self._files: list[Any] = []

    def build(self, vectors: Float, metric: Metric, threads: int, folder: Path) -> None:
        faiss.omp_set_num_threads(threads)
        count, dim = vectors.shape
        parts = {"half": dim // 2, "quarter": dim // 4, "eighth": dim // 8}
        lists = round(4 * math.sqrt(count))
        wanted = min(count, lists * TRAINING_ROWS_PER_LIST, _MOST_TRAINING_ROWS)
        sample = vectors[np.sort(np.random.default_rng(_SEED).choice(count, wanted, replace=False))]
        index = faiss.index_factory(dim, f"IVF{lists},{self._codes.format(**parts)}", metric_of(metric))
        lists_of = faiss.downcast_index(index)
        lists_of.cp.min_points_per_centroid = 1
        if isinstance(lists_of, faiss.IndexIVFPQ):  # more rows a centroid than for lists gain nothing
            lists_of.pq.cp.max_points_per_centroid = TRAINING_ROWS_PER_LIST
        for made, file in ((index, LISTS_FILE), (self._refined_with(dim, metric), REFINE_FILE)):
            if made is None:
                continue
            made.train(sample)
            for start in range(0, count, _ROWS_PER_ADD):
                made.add(vectors[start : start + _ROWS_PER_ADD])
            faiss.write_index(made, str(folder / file))

    def _refined_with(self, dim: int, metric: Metric) -> Any:
        return faiss.index_factory(dim, self._refine, metric_of(metric)) if self._refine else None

    def save(self, folder: Path) -> dict[str, Any]:
        return {}

    def load(self, folder: Path, rows: int, dim: int, metric: Metric) -> None:
        how = faiss.IO_FLAG_MMAP | faiss.IO_FLAG_READ_ONLY if self._mapped else 0
        lists = faiss.read_index(str(folder / LISTS_FILE), how)
        self._files = [lists]
        if self._refine:
            refine = faiss.read_index(str(folder / REFINE_FILE), faiss.IO_FLAG_MMAP_IFC)
            self._files.append(refine)
            self._index = faiss.IndexRefine(lists, refine)
        else:
            self._index = lists
        for file in (LISTS_FILE, REFINE_FILE):
            expect_random_reads(folder / file)

    def search(self, queries: Float, k: int, setting: Setting, threads: int) -> NDArray[Any]:
        faiss.omp_set_num_threads(threads)
        how = faiss.SearchParametersIVF(nprobe=setting.effort)
        if self._refine:
            how = faiss.IndexRefineSearchParameters(k_factor=setting.second, base_index_params=how)
        rows: NDArray[Any] = self._index.search(queries, k, params=how)[1]
        return rows


def expect_random_reads(path: Path) -> None:
    """Of all mappings of a file in this process."""
    library = ctypes.CDLL(None)
    for line in Path("/proc/self/maps").read_text().splitlines():
        if line.endswith(f" {path}"):
            start, stop = (int(each, 16) for each in line.split()[0].split("-"))
            library.madvise(ctypes.c_void_p(start), ctypes.c_size_t(stop - start), mmap.MADV_RANDOM)
