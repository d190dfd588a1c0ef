"""The sections of inverted lists whose rows stay on the disk: the profile `disk`, made and read by the kernels.

    lists.groups   what a search has in memory of each row: one bit a dimension, two factors, the row's number; 32 rows
                   of a list a group
    lists.starts   where each list begins
    lists.centres  what lists are found by: the centre of each, in int8
    lists.records  what a search reads of the few rows that may be among the best: 12 bits a dimension, from which a
                   row is scored and given out; never mapped

index/kernels/lists.hpp has every byte. All are a function of the rows and the centres alone, the same on every
architecture.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from index.disk.sections import ALIGNMENT, map_section, read_ahead
from index.errors import GenerationError
from index.kernels import _native

PROFILE = "disk"
GROUPS_FILE, STARTS_FILE, CENTRES_FILE = "lists.groups", "lists.starts", "lists.centres"
RECORDS_FILE = "lists.records"
ROWS_A_GROUP = 32


class ListsLayout(NamedTuple):
    """The arrays of lists, where their records are, and what the kernels must know of them."""

    groups: NDArray[np.uint8]
    starts: NDArray[np.uint32]
    centres: NDArray[np.uint8]
    records: Path
    count: int  # type: ignore[assignment]  # a tuple's method is hidden, and nobody counts in a layout
    dim: int
    l2: bool
    gain: float
    code_norm: float
    rest_norm: float

    def open(self, reader: str) -> _native.Lists:
        """reader: "ring" (io_uring), "pool" (threads), or "auto", the ring where the system gives one."""
        return _native.Lists(
            self.centres,
            self.starts,
            self.groups,
            str(self.records),
            self.count,
            self.dim,
            self.l2,
            self.gain,
            self.code_norm,
            self.rest_norm,
            reader,
        )

    def sections(self) -> dict[str, Any]:
        """What the manifest says of them."""
        return {
            GROUPS_FILE: _entry(int(self.starts[-1]), _native.group_bytes(self.dim)),
            STARTS_FILE: {"dtype": "uint32", "stride_bytes": 4, "shape": [len(self.starts)]},
            CENTRES_FILE: _entry(len(self.centres), 1) | {"gain": self.gain},
            RECORDS_FILE: _entry(self.count, _native.record_bytes(self.dim))
            | {"dim": self.dim, "code_norm": self.code_norm, "rest_norm": self.rest_norm},
        }


def _entry(count: int, stride: int) -> dict[str, Any]:
    return {"dtype": "uint8", "stride_bytes": stride, "shape": [count]}


def padded_size(size: int) -> int:
    """Of a section that holds so many bytes."""
    return -(-size // ALIGNMENT) * ALIGNMENT


def load(folder: Path, manifest: dict[str, Any]) -> ListsLayout:
    """The lists of a generation, mapped but for the records. Raises ValueError for a layout that is not of this
    version, GenerationError for records that were cut short."""
    sections, dim = manifest["sections"], manifest["dim"]
    records = sections[RECORDS_FILE]
    for name, stride in ((GROUPS_FILE, _native.group_bytes(dim)), (RECORDS_FILE, _native.record_bytes(dim))):
        if sections[name]["stride_bytes"] != stride:
            raise ValueError(f"{name} has another layout than {dim} dimensions need")
    size, least = (folder / RECORDS_FILE).stat().st_size, _native.bytes_of_records(dim, manifest["count"])
    if size < least:
        raise GenerationError(folder / RECORDS_FILE, f"has {size:,} bytes, and its rows need {least:,}")
    groups = np.memmap(folder / GROUPS_FILE, np.uint8, "r")
    read_ahead(groups)
    return ListsLayout(
        groups,
        map_section(folder, STARTS_FILE, sections),
        map_section(folder, CENTRES_FILE, sections),
        folder / RECORDS_FILE,
        manifest["count"],
        dim,
        manifest["metric"] == "l2",
        sections[CENTRES_FILE]["gain"],
        records["code_norm"],
        records["rest_norm"],
    )
