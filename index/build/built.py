"""What the build of a structure comes to, how it is written, the check of what was written, and what it cost: seconds,
processor time and memory, and on what.

The cost is read from the manifest for as long as the generation lives, so it holds all that a reader needs to judge the
figures: threads, processor, kernels and versions. Reports turn it into joules and dollars.
"""

import os
import struct
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from embed.vectors.provenance import own_version, peak_rss_bytes, reset_peak_rss
from index import kernels, machine
from index.disk.layout import Originals
from index.disk.lists import RECORDS_FILE
from index.disk.sections import VECTORS_FILE, FloatRows
from index.errors import GenerationError
from index.search import rowfiles
from index.search.exact import TopK
from index.search.finding import find
from index.search.generation import Generation
from index.search.structure import INDEX_FILE
from index.search.untyped import FaissIndex, faiss

_ROWS_AT_ONCE = 8192


class Sample(NamedTuple):
    """Rows whose vectors were the queries, and what the structure in memory answered at its default effort."""

    rows: NDArray[np.int64]
    found: TopK


@dataclass(frozen=True)
class Structure:
    """index: FAISS's, which is written; None where the sections hold all. The rest is what the manifest says of it;
    private_bytes: what every process that opens it holds for itself, beside the pages that all of them share."""

    index: FaissIndex | None
    recall: dict[str, Any]
    effort: dict[str, Any]
    parameters: dict[str, Any]
    sample: Sample
    private_bytes: int
    sections: dict[str, Any] = field(default_factory=dict)


def write_faiss(index: FaissIndex, path: Path, originals: Originals = "keep", rows: FloatRows | None = None) -> None:
    """rows: of a graph whose storage is empty, which get into the file without a copy of all of them in memory."""
    lacking = rows is not None and isinstance(index, faiss.IndexHNSWFlat) and index.storage.ntotal < index.ntotal
    # FAISS's own writer does not notice when the last bytes fail, at close; Python's does.
    with path.open("wb") as file:
        flags = faiss.IO_FLAG_SKIP_STORAGE if lacking or originals == "drop" else 0
        faiss.write_index(index, faiss.PyCallbackIOWriter(file.write), flags)
        if rows is not None and lacking and originals == "keep":
            file.seek(-4, os.SEEK_CUR)  # where FAISS says that there is no storage
            head = bytearray(faiss.serialize_index(index.storage).tobytes())
            head[8:16] = struct.pack("<q", len(rows.array))
            head[-8:] = struct.pack("<Q", rows.array.size)
            file.write(head)
            for start in range(0, len(rows.array), _ROWS_AT_ONCE):
                file.write(rows.array[start : start + _ROWS_AT_ONCE].data)
                rows.drop()


def check_sample(generation: Generation, sample: Sample) -> None:
    """The files must give the answers that memory gave. Raises GenerationError when they do not."""
    queries = generation.checked(np.stack([generation.vector(int(row)) for row in sample.rows]))
    k, effort = sample.found.rows.shape[1], generation.manifest["effort"]["default"]
    rows, scores, _ = find(generation._rows, generation._searcher, queries, k, effort)
    if not (np.array_equal(rows, sample.found.rows) and np.array_equal(scores, sample.found.scores)):
        raise GenerationError(
            generation.path / INDEX_FILE, "does not answer as the index that was written into it; nothing was published"
        )


def memory_to_serve(described: dict[str, dict[str, Any]], originals: Originals) -> int:
    """What searches touch, so what should stay in the page cache: not the payload, nor what lists read from the disk,
    nor FAISS's graph where it has no rows."""
    cold = {rowfiles.PAYLOAD_FILE, VECTORS_FILE, RECORDS_FILE, *([INDEX_FILE] if originals == "drop" else [])}
    return sum(int(entry["bytes"]) for name, entry in described.items() if name not in cold)


class Clock:
    """Measures one build from its creation on."""

    def __init__(self) -> None:
        reset_peak_rss()
        self._start = self._last = time.perf_counter()
        self._cpu_start = time.process_time()
        self._steps: dict[str, float] = {}

    def lap(self, step: str) -> None:
        """Ends a step; its seconds are those since the last one ended."""
        now = time.perf_counter()
        self._steps[step], self._last = round(now - self._last, 3), now

    def record(self, rows: int, threads: int) -> dict[str, Any]:
        """The manifest's `build`: seconds of wall and processor time so far, peak memory, and what it was done with."""
        return {
            "rows": rows,
            "seconds": round(time.perf_counter() - self._start, 3),
            "cpu_seconds": round(time.process_time() - self._cpu_start, 3),
            "step_seconds": self._steps,
            "peak_memory_bytes": peak_rss_bytes(),
            "threads": threads,
            "processor": machine.processor_name(),
            "isa": kernels.info()["isa"],
            "versions": {"perwatt": own_version(), "faiss": faiss.__version__, "numpy": np.__version__},
        }
