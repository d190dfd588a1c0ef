"""Parquet files, and data sets as Hugging Face's `datasets` saves them to disk: both are read by Arrow alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from embed.documents.inputs import find_sources
from service.moving.rows import Collection, MovedRows, MovingError, SourceOptions, chosen
from service.moving.tables import BATCH_ROWS, batches_of, without_vectors


@contextmanager
def parquet(asked: SourceOptions) -> Iterator[Collection]:
    """A file, a folder or a glob of Parquet files, in the order of their names.

    Raises:
        MovingError: One of them is no Parquet file.
        EmbedError: There is none.
    """
    paths = [source.path for source in find_sources([asked.place], "parquet") if source.path is not None]
    paths = [path for path in paths if path.suffix in (".parquet", ".pq")] or paths
    count = sum(parquet_file(path).metadata.num_rows for path in paths)
    yield Collection(f"parquet:{asked.place}", partial(_parquet, paths, asked.vector_field), count)


def parquet_file(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20)
    except (pa.ArrowException, OSError) as error:
        raise MovingError(f"{path} cannot be read as Parquet: {str(error).splitlines()[0]}") from error


def _parquet(paths: list[Path], asked: str | None, vectors: bool) -> Iterator[MovedRows]:
    for path in paths:
        with parquet_file(path) as file:
            names = None if vectors else without_vectors(file.schema_arrow, asked)
            try:
                yield from batches_of(str(path), file.iter_batches(BATCH_ROWS, columns=names), asked, vectors)
            except (pa.ArrowException, OSError) as error:
                raise MovingError(f"{path} cannot be read on: {str(error).splitlines()[0]}") from error


@contextmanager
def dataset(asked: SourceOptions) -> Iterator[Collection]:
    """The folder that `save_to_disk` made, of one split or of several, of which --collection names one.

    Raises:
        MovingError: It is not such a folder.
    """
    folder, name = Path(asked.place), f"dataset:{asked.place}"
    if (folder / "dataset_dict.json").is_file():
        split = chosen(name, asked.collection, _object(folder / "dataset_dict.json").get("splits", []))
        folder, name = folder / split, f"{name}, split {split}"
    state = _object(folder / "state.json")
    if state.get("_indices_data_files"):
        raise MovingError(f"{folder} is a selection of rows by number: save it anew with dataset.flatten_indices()")
    paths = [folder / entry["filename"] for entry in state.get("_data_files", [])]
    count = sum(len(batch) for path in paths for batch in _arrow(path))
    yield Collection(name, partial(_dataset, paths, asked.vector_field), count)


def _dataset(paths: list[Path], asked: str | None, vectors: bool) -> Iterator[MovedRows]:
    for path in paths:
        yield from batches_of(str(path), _arrow(path), asked, vectors)


def _arrow(path: Path) -> Iterator[pa.RecordBatch]:
    """Mapped, so that only what is looked at is read."""
    try:
        with pa.memory_map(str(path)) as file, pa.ipc.open_stream(file) as stream:
            yield from stream
    except (pa.ArrowException, OSError) as error:
        raise MovingError(f"{path} cannot be read as Arrow: {str(error).splitlines()[0]}") from error


def _object(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text("utf-8"))
    except OSError:
        raise MovingError(
            f"{path.parent} is not a data set on disk: it holds no {path.name}. Give the folder that "
            "`dataset.save_to_disk(PATH)` made"
        ) from None
    except ValueError as error:
        raise MovingError(f"{path} is not JSON ({error})") from None
    return found if isinstance(found, dict) else {}
