"""The vectors of an index that FAISS wrote, read back in the order in which they were added.

Only indexes that keep their vectors: one that keeps codes of a few bytes would give other vectors than went in. FAISS
trusts what it reads, so a file of unknown origin is not to be read with this.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from index.errors import InputError

_METRICS = {faiss.METRIC_INNER_PRODUCT: "ip", faiss.METRIC_L2: "l2"}


class FaissVectors:
    """`count` vectors of `dim` dimensions. ids: of an index that has ids of its own, int64 (n,). metric: "ip" or "l2".

    Raises InputError for a file that is no such index.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            # Held, because what is inside of it is freed with it.
            self._whole = faiss.read_index(str(path))
        except RuntimeError as error:
            raise InputError(f"{path} cannot be read by FAISS: {str(error).splitlines()[-1]}") from error
        index = self._whole
        self.ids: NDArray[np.int64] | None = None
        self.metric = _METRICS.get(index.metric_type)
        if isinstance(index, faiss.IndexIDMap):
            self.ids = faiss.vector_to_array(index.id_map)
            index = faiss.downcast_index(index.index)
        self.count, self.dim = int(index.ntotal), int(index.d)
        self._index: Any = index
        self._check_exact()

    def rows(self, which: slice) -> NDArray[np.float32]:
        """float32 (n, dim)."""
        start, stop, _ = which.indices(self.count)
        made: NDArray[np.float32] = self._index.reconstruct_n(start, stop - start)
        return made

    def _check_exact(self) -> None:
        kept = faiss.downcast_index(self._index.storage) if isinstance(self._index, faiss.IndexHNSW) else self._index
        if isinstance(kept, faiss.IndexIVFFlat):
            kept.make_direct_map()
            if self.count and not np.array_equal(_ids_of(kept), np.arange(self.count)):
                raise InputError(
                    f"{self.path} is an IVF index with ids of its own, which are not read: rebuild it flat"
                )
        elif not isinstance(kept, faiss.IndexFlat):
            raise InputError(
                f"{self.path} is an {type(kept).__name__}, which keeps codes of its vectors and not the vectors. "
                "IndexFlat, IndexHNSWFlat, IndexIVFFlat and these in an IndexIDMap keep them; else embed the texts anew"
            )


def _ids_of(index: Any) -> NDArray[np.int64]:
    lists = index.invlists
    held = [
        faiss.rev_swig_ptr(lists.get_ids(number), lists.list_size(number)).copy()
        for number in range(index.nlist)
        if lists.list_size(number)
    ]
    return np.sort(np.concatenate(held)) if held else np.empty(0, np.int64)
