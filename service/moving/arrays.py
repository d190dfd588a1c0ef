"""A .npy file or a FAISS index, whose rows have their ids and fields in a file beside it.

--records names that file: one row for each vector, in the same order. A row that is missing or too much would give
every later vector another one's text, so the counts have to agree.
"""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from embed.documents.inputs import format_of
from embed.errors import EmbedError
from embed.vectors.npy import NpyVectors
from index.disk.faiss_file import FaissVectors
from index.errors import IndexingError
from service.moving.files import parquet_file
from service.moving.rows import Collection, MovedRows, MovingError, SourceOptions
from service.moving.tables import BATCH_ROWS, batches_of


class Vectors(Protocol):
    """Vectors in a file, by their places."""

    count: int
    dim: int

    def rows(self, which: slice) -> NDArray[np.float32]: ...


@contextmanager
def npy(asked: SourceOptions) -> Iterator[Collection]:
    """Raises MovingError where the file holds no vectors."""
    try:
        vectors = NpyVectors(Path(asked.place))
    except EmbedError as error:
        raise MovingError(str(error)) from error
    yield _collection("npy", vectors, asked, None)


@contextmanager
def faiss(asked: SourceOptions) -> Iterator[Collection]:
    """Raises MovingError where the file holds no index, or one that keeps no vectors."""
    try:
        vectors = FaissVectors(Path(asked.place))
    except IndexingError as error:
        raise MovingError(str(error)) from error
    yield _collection("faiss", vectors, asked, vectors.ids, vectors.metric)


def _collection(
    kind: str, vectors: Vectors, asked: SourceOptions, ids: NDArray[np.int64] | None, metric: str | None = None
) -> Collection:
    read = partial(_read, asked, vectors, ids)
    return Collection(f"{kind}:{asked.place}", read, vectors.count, metric)


def _read(asked: SourceOptions, vectors: Vectors, ids: NDArray[np.int64] | None, wanted: bool) -> Iterator[MovedRows]:
    records = None if asked.records is None else _records(asked.records)
    for start in range(0, vectors.count, BATCH_ROWS):
        part = slice(start, min(start + BATCH_ROWS, vectors.count))
        numbers = np.arange(part.start, part.stop) if ids is None else ids[part]
        if records is None:
            some: list[dict[str, object]] = [{"id": number} for number in numbers.tolist()]
        else:
            some = list(islice(records, len(numbers)))
            if len(some) < len(numbers):
                raise MovingError(_counts(asked, vectors.count, f"{start + len(some):,}"))
        yield MovedRows(some, vectors.rows(part) if wanted else None)
    if records is not None and next(records, None) is not None:
        raise MovingError(_counts(asked, vectors.count, f"more than {vectors.count:,}"))


def _counts(asked: SourceOptions, count: int, records: str) -> str:
    return (
        f"{asked.place} holds {count:,} vectors and {asked.records} {records} records; there has to be one for each "
        "vector, in the same order"
    )


def _records(path: Path) -> Iterator[dict[str, object]]:
    """One record a row: of Parquet, JSON Lines or CSV; or ids alone, one a line or in a .npy file."""
    kind = format_of(path)
    try:
        if kind == "parquet":
            with parquet_file(path) as file:
                for batch in batches_of(str(path), file.iter_batches(BATCH_ROWS), None, vectors=False):
                    yield from batch.records
        elif path.suffix == ".npy":
            yield from ({"id": id_} for id_ in np.load(path, mmap_mode="r", allow_pickle=False).tolist())
        else:
            packed = path.suffix == ".gz"
            with (gzip.open if packed else open)(path, "rt", encoding="utf-8-sig", newline="") as text:
                yield from _lines(path, text, kind)
    except (OSError, ValueError, pa.ArrowException, csv.Error) as error:
        raise MovingError(f"{path} cannot be read as the records of the vectors: {error}") from error


def _lines(path: Path, text: IO[str], kind: str | None) -> Iterator[dict[str, object]]:
    if kind in ("csv", "tsv"):
        yield from csv.DictReader(text, delimiter="\t" if kind == "tsv" else ",", strict=True)
        return
    for number, line in enumerate(text, start=1):
        record: Any = json.loads(line) if kind == "jsonl" else {"id": line.rstrip("\r\n")}
        if not isinstance(record, dict):
            raise MovingError(f"{path}:{number}: a JSON object was expected, got {line[:40]!r}")
        yield record
