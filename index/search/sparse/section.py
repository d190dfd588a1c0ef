"""The files of `sparse/` in a generation.

    terms.u64      of each token and behind the last: first entry, first posting       (tokens + 1, 2)
    entries.u64    which blocks of 64 rows hold a token, and the largest impact there
    postings.u16   row within the block, impact
    table.u16      what a query's token weighs, in steps of QUERY_STEP; 0: nothing      (tokens,)
    tokenizer.json

The first three are read by `kernels/impacts.hpp`. Like all sections they are padded to 64 KiB; how long they are is in
the manifest.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from index.disk.sections import ALIGNMENT

FOLDER = "sparse"
QUERY_STEP = 1 / 1024  # powers of two, as a model's steps are: products with them are exact
MOST_WEIGHT = 65535
MOST_IMPACT = 255
TOKENIZER_FILE = "tokenizer.json"
_FILES = {"terms": "u64", "entries": "u64", "postings": "u16", "table": "u16"}


class SparseArrays(NamedTuple):
    terms: NDArray[np.uint64]
    entries: NDArray[np.uint64]
    postings: NDArray[np.uint16]
    table: NDArray[np.uint16]


def write_arrays(folder: Path, arrays: SparseArrays) -> dict[str, int]:
    """Writes them into a generation's folder; returns how many numbers each has, for the manifest."""
    numbers: dict[str, NDArray[Any]] = dict(zip(_FILES, arrays, strict=True))
    for name, array in numbers.items():
        kind = _FILES[name]
        with (folder / FOLDER / f"{name}.{kind}").open("wb") as file:
            file.write(np.ascontiguousarray(array).data)
            file.write(b"\0" * (-array.nbytes % ALIGNMENT or (not array.nbytes) * ALIGNMENT))
    return {name: array.size for name, array in numbers.items()}


def read_arrays(folder: Path, sizes: dict[str, Any]) -> SparseArrays:
    """They, mapped."""
    terms, entries, postings, table = (
        np.memmap(folder / FOLDER / f"{name}.{kind}", "<u8" if kind == "u64" else "<u2", "r")[: int(sizes[name])]
        for name, kind in _FILES.items()
    )
    return SparseArrays(terms.reshape(-1, 2), entries, postings, table)
