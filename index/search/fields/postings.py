"""A generation's columns and, beside them, which rows hold what; `conditions` answers from both.

    columns.arrow    a row each: what the row holds                              (columns.py)
    postings.arrow   for each field its rows in the order of their values, and for keywords where each word's begin

Columns of different lengths do not fit one table, so postings.arrow has a single row whose cells are lists. Both files
are mapped and nothing of them is copied.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from index.search.fields.columns import TYPES
from index.search.fields.conditions import Column, Flags, Numbers, Words, buffer_of

COLUMNS_FILE, POSTINGS_FILE = "columns.arrow", "postings.arrow"


def write_postings(folder: Path, columns: pa.Table) -> None:
    """Writes postings.arrow for the table that is in columns.arrow."""
    table = postings_of(columns)
    with pa.OSFile(str(folder / POSTINGS_FILE), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        if table.num_columns:
            writer.write_table(table)


def postings_of(columns: pa.Table) -> pa.Table:
    """For each column which rows hold what, as postings.arrow has it. Columns are of one chunk."""
    cells: dict[str, Any] = {}
    for place, column in enumerate(columns.columns):
        array: Any = column.chunk(0)
        if pa.types.is_list(array.type):
            owners = np.repeat(np.arange(len(array)), np.diff(array.offsets.to_numpy()))
            numbers = array.values.indices.to_numpy(zero_copy_only=False).astype(np.int64)
            pairs = np.unique(numbers * len(array) + owners)  # a word that a row has twice is there once
            cells |= _words(place, pairs % len(array), pairs // len(array), len(array.values.dictionary))
        elif pa.types.is_dictionary(array.type):
            rows = _present_rows(array)
            numbers = array.indices.to_numpy(zero_copy_only=False)[rows].astype(np.int64)
            order = np.argsort(numbers, kind="stable")
            cells |= _words(place, rows[order], numbers[order], len(array.dictionary))
        elif not pa.types.is_boolean(array.type):
            rows = _present_rows(array)
            values = buffer_of(array, 1, np.float64 if pa.types.is_floating(array.type) else np.int64, len(array))
            cells[f"{place}.rows"] = rows[np.argsort(values[rows], kind="stable")].astype(np.int32)
    return pa.table(
        {
            name: pa.LargeListArray.from_arrays(pa.array([0, len(values)], pa.int64()), pa.array(values))
            for name, values in cells.items()
        }
    )


def _words(place: int, rows: NDArray[Any], numbers: NDArray[Any], words: int) -> dict[str, NDArray[Any]]:
    starts = np.searchsorted(numbers, np.arange(words + 1)).astype(np.int64)
    return {f"{place}.rows": rows.astype(np.int32), f"{place}.starts": starts}


def _present_rows(array: Any) -> NDArray[np.int64]:
    return np.flatnonzero(array.is_valid().to_numpy(zero_copy_only=False)).astype(np.int64)


def open_columns(folder: Path, fields: dict[str, str], count: int) -> dict[str, Column]:
    """The columns of a generation by the names of their fields. Raises ValueError when the files do not fit."""
    if not fields:
        return {}
    table = pa.ipc.open_file(pa.memory_map(str(folder / COLUMNS_FILE))).read_all()
    postings = pa.ipc.open_file(pa.memory_map(str(folder / POSTINGS_FILE))).read_all()
    if table.num_rows != count or set(table.column_names) != set(fields):
        raise ValueError(f"{COLUMNS_FILE} has {table.num_rows} rows of {table.column_names}")
    return columns_of(table, postings, fields)


def columns_of(table: pa.Table, postings: pa.Table, fields: dict[str, str]) -> dict[str, Column]:
    """The columns of a table and its postings. Raises ValueError where a column has another type than declared."""

    def cell(place: int, name: str, dtype: type) -> NDArray[Any]:
        values: Any = postings.column(f"{place}.{name}").chunk(0)
        return buffer_of(values.values, 1, dtype, len(values.values))

    columns: dict[str, Column] = {}
    for place, name in enumerate(table.column_names):
        type_, array = fields[name], table.column(name).chunk(0)
        if array.type != TYPES[type_].arrow:
            raise ValueError(f"{COLUMNS_FILE} has {name!r} as {array.type}, declared {type_}")
        if type_ in ("keyword", "keyword[]"):
            columns[name] = Words(name, type_, array, cell(place, "rows", np.int32), cell(place, "starts", np.int64))
        elif type_ == "bool":
            columns[name] = Flags(name, type_, array)
        else:
            columns[name] = Numbers(name, type_, array, cell(place, "rows", np.int32))
    return columns
