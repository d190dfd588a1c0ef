"""Rows of Arrow's, wherever they come from: one column holds the vectors, the others are fields."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from embed.documents.parquet import exact
from service.moving.rows import MovedRows, MovingError

BATCH_ROWS = 1024
USUAL = ("vector", "embedding", "embeddings")


def vector_column(place: str, schema: pa.Schema, asked: str | None) -> str | None:
    """The column of vectors: the one asked for, else the only one of lists of floats, or one with the usual name.

    Raises MovingError where that leaves more than one, or where the column asked for is not one."""
    lists = [field.name for field in schema if _floats(field.type)]
    if asked is not None:
        if asked not in lists:
            there = ", ".join(lists) or "none"
            raise MovingError(f"{place} has no column {asked!r} of vectors; columns of floats: {there}")
        return asked
    usual = [name for name in USUAL if name in lists]
    if len(lists) > 1 and len(usual) != 1:
        raise MovingError(f"{place} has columns of vectors {', '.join(lists)}: name one with --vector-field")
    return next(iter(usual or lists), None)


def without_vectors(schema: pa.Schema, asked: str | None) -> list[str]:
    """The columns that are fields of documents: not the one asked for, nor any that can only be vectors."""
    vectors = {
        field.name
        for field in schema
        if _floats(field.type) and (field.name in (asked, *USUAL) or pa.types.is_fixed_size_list(field.type))
    }
    return [name for name in schema.names if name not in vectors]


def batches_of(place: str, tables: Iterable[pa.RecordBatch], asked: str | None, vectors: bool) -> Iterator[MovedRows]:
    """The rows of record batches, in order. Raises MovingError where vectors are wanted and there is no column of
    them."""
    for table in tables:
        column = vector_column(place, table.schema, asked) if vectors else None
        if vectors and column is None:
            raise MovingError(
                f"{place} has no column of vectors; its columns are {', '.join(table.schema.names)}. "
                "--documents takes the texts alone"
            )
        names = (
            [name for name in table.schema.names if name != column] if vectors else without_vectors(table.schema, asked)
        )
        for start in range(0, len(table), BATCH_ROWS):
            part = table.slice(start, BATCH_ROWS)
            found = None if column is None else _vectors(part.column(column))
            yield MovedRows(exact(part.select(names)).to_pylist(), found)


def _floats(type_: Any) -> bool:
    listed = pa.types.is_list(type_) or pa.types.is_large_list(type_) or pa.types.is_fixed_size_list(type_)
    return listed and pa.types.is_floating(type_.value_type)


def _vectors(column: Any) -> Any:
    """(n, dim), or a list with None for each row without a vector where they are not alike."""
    lengths = column.value_lengths()
    if column.null_count == 0 and len(column) and len(lengths.unique()) == 1:
        return column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), -1)
    return [np.array(value.as_py(), np.float32) if value.is_valid else None for value in column]
