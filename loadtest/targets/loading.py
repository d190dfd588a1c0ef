"""Vectors into an engine, for experiments that are one script: what `perwatt loadtest load` does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from embed.vectors.npy import NpyVectors
from loadtest.errors import WorkloadError
from loadtest.workload.queries import finished_manifest

AT_ONCE = 1000


class LoadedRows(NamedTuple):
    """Some of the vectors: float32 (n, dim), their ids, and what else is known of each (payloads; empty objects)."""

    ids: list[str]
    vectors: NDArray[np.float32]
    payloads: list[dict[str, Any]]


def read_rows(vectors: Path, ids: Path | None) -> Iterator[LoadedRows]:
    """All rows of a vectors folder, or of a .npy file with its ids, AT_ONCE at a time.

    Raises WorkloadError for what is neither, and for ids that are not as many as the vectors.
    """
    if vectors.is_dir():
        yield from _of_folder(vectors)
        return
    if ids is None:
        raise WorkloadError(f"{vectors} needs its ids: --ids FILE, one a line")
    stored, names = NpyVectors(vectors), ids.read_text("utf-8").splitlines()
    if len(names) != stored.count:
        raise WorkloadError(f"{ids} has {len(names):,} ids and {vectors} {stored.count:,} vectors: expected as many")
    for start in range(0, stored.count, AT_ONCE):
        part = names[start : start + AT_ONCE]
        yield LoadedRows(part, stored.rows(slice(start, start + AT_ONCE)), [{} for _ in part])


def _of_folder(folder: Path) -> Iterator[LoadedRows]:
    import pyarrow.parquet as parquet

    for fragment in finished_manifest(folder)["fragments"]:
        file = parquet.ParquetFile(folder / fragment["file"])
        for batch in file.iter_batches(AT_ONCE, columns=["id", "vector", "payload"]):
            column: Any = batch.column("vector")
            vectors = column.flatten().to_numpy(zero_copy_only=False).reshape(len(batch), -1).astype(np.float32)
            payloads = [json.loads(payload or b"{}") for payload in batch.column("payload").to_pylist()]
            yield LoadedRows([str(id_) for id_ in batch.column("id").to_pylist()], vectors, payloads)
