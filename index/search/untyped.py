"""FAISS as this package wants it: without its type stubs, and with threads that sleep while they wait.

The stubs lack what is used most here (search parameters, statistics, HNSW). And the OpenMP library inside FAISS lets
threads spin between parallel regions. On cores that are shared, or cut by a cgroup's quota, each then waits for another
to be scheduled: a build of 3,000 rows on two busy cores took 2 to 7 s spinning and 0.6 s sleeping, at a third of the
processor time. The policy is read once, when that library is loaded, so it is set for the import only.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from index.disk.codes import Metric
from index.errors import GenerationError


def faiss_metric(metric: Metric) -> int:
    return int(faiss.METRIC_L2 if metric == "l2" else faiss.METRIC_INNER_PRODUCT)


def float_rows(index: FaissIndex) -> NDArray[np.float32]:
    """The index's own float32 rows, (n, dim), without a copy. Valid while `index` lives."""
    view = faiss.rev_swig_ptr(index.get_xb(), index.ntotal * index.d)
    return np.asarray(view).reshape(index.ntotal, index.d)


def read_faiss(path: Path) -> FaissIndex:
    """The index of a file, mapped. Raises GenerationError for one that FAISS cannot read."""
    try:
        return faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
    except RuntimeError as error:
        raise GenerationError(path, f"is not an index that FAISS can read: {error}") from error


_POLICY = "OMP_WAIT_POLICY"
_given = os.environ.get(_POLICY)
os.environ[_POLICY] = _given or "PASSIVE"
try:
    import faiss as _faiss
finally:
    if _given is None:
        del os.environ[_POLICY]

faiss: Any = _faiss
FaissIndex: TypeAlias = Any
