"""What a row is besides its vector: external id and payload, in Arrow IPC files that are mapped, never loaded.

Payload rows are JSON as the client will see it, so answering a search copies bytes and parses nothing. Offsets and data
are read straight from Arrow's buffers: a pyarrow scalar for each hit would cost more than the search of a small index.
"""

import mmap
from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from index.disk.sections import FloatRows
from index.search.fields.columns import ColumnReader
from index.search.fields.field_inference import Rows
from index.search.fields.postings import COLUMNS_FILE, write_postings

type_of_ids = {str: "str", int: "int64"}


class Arranged:
    """Rows in the order of their ids: row r was input row order[r]."""

    def __init__(
        self,
        ids: list[Any],
        order: NDArray[np.int64],
        vectors: FloatRows,
        payload_path: Path,
        payload_ends: NDArray[np.int64] | None,
    ) -> None:
        self.ids, self.order, self.vectors = ids, order, vectors
        self.id_type = type_of_ids[type(ids[0])]
        self._payload_path, self._ends = payload_path, payload_ends

    @property
    def has_payload(self) -> bool:
        return self._ends is not None

    def payload(self, start: int, stop: int) -> list[bytes]:
        """Payload of rows start to stop."""
        if self._ends is None:
            return [b"{}"] * (stop - start)
        with self._payload_path.open("rb") as file, _mapped(file.fileno()) as raw:
            return [raw[self._ends[row] : self._ends[row + 1]] for row in self.order[start:stop].tolist()]


def _mapped(handle: int) -> mmap.mmap:
    return mmap.mmap(handle, 0, access=mmap.ACCESS_READ)


IDS_FILE, PAYLOAD_FILE = "ids.arrow", "payload.arrow"
_ROWS_PER_BATCH = 8192


def write_ids(folder: Path, arranged: Arranged) -> None:
    type_ = pa.large_string() if arranged.id_type == "str" else pa.int64()
    table = pa.table({"id": pa.array(arranged.ids, type_)})
    _write(folder / IDS_FILE, table)


def payload_batches(arranged: Arranged) -> Iterator[Rows]:
    """The payload in row order, some thousand rows at a time."""
    for start in range(0, len(arranged.ids), _ROWS_PER_BATCH):
        stop = min(start + _ROWS_PER_BATCH, len(arranged.ids))
        yield Rows(arranged.payload(start, stop), arranged.ids[start:stop], arranged.order[start:stop].tolist())


def write_payload(folder: Path, arranged: Arranged, columns: ColumnReader | None) -> None:
    """Writes the payload in row order and hands it to `columns` on the way."""
    schema = pa.schema([pa.field("payload", pa.large_binary(), nullable=False)])
    with pa.OSFile(str(folder / PAYLOAD_FILE), "wb") as file, pa.ipc.new_file(file, schema) as writer:
        for batch in payload_batches(arranged):
            writer.write_batch(pa.record_batch([pa.array(batch.payload, pa.large_binary())], schema=schema))
            if columns is not None:
                columns.take(*batch)


def write_columns(folder: Path, columns: ColumnReader) -> pa.Table:
    table = columns.table()
    _write(folder / COLUMNS_FILE, table)
    write_postings(folder, table)
    return table


def _write(path: Path, table: pa.Table) -> None:
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)


class _Bytes:
    """A large_string or large_binary column over one or more mapped record batches."""

    def __init__(self, path: Path) -> None:
        self._file = pa.memory_map(str(path))
        reader = pa.ipc.open_file(self._file)
        self._starts: list[int] = []
        self._parts: list[tuple[memoryview, memoryview]] = []  # offsets as int64, and data
        row = 0
        for number in range(reader.num_record_batches):
            column = reader.get_batch(number).column(0)
            buffers: list[Any] = column.buffers()
            _, offsets, data = buffers
            # A memory view gives Python integers, several times as fast as NumPy gives its own.
            ends = memoryview(offsets).cast("B").cast("q")[column.offset : column.offset + len(column) + 1]
            self._starts.append(row)
            self._parts.append((ends, memoryview(data) if data is not None else memoryview(b"")))
            row += len(column)
        self.count = row

    def at(self, row: int) -> bytes:
        if not 0 <= row < self.count:
            raise IndexError(f"row {row} of {self.count}")
        part = bisect_right(self._starts, row) - 1
        ends, data = self._parts[part]
        row -= self._starts[part]
        return bytes(data[ends[row] : ends[row + 1]])


class Payload:
    def __init__(self, folder: Path) -> None:
        path = folder / PAYLOAD_FILE
        self._column = _Bytes(path) if path.exists() else None

    def at(self, row: int) -> bytes:
        return b"{}" if self._column is None else self._column.at(row)


class StringIds:
    """External ids that are strings, sorted bytewise."""

    def __init__(self, folder: Path) -> None:
        self._column = _Bytes(folder / IDS_FILE)
        self.count = self._column.count

    def external(self, row: int) -> str:
        return self._column.at(row).decode()

    def place_of(self, id_: str) -> int:
        """How many ids come before it."""
        wanted, low, high = id_.encode(errors="surrogatepass"), 0, self.count
        while low < high:
            middle = (low + high) // 2
            if self._column.at(middle) < wanted:
                low = middle + 1
            else:
                high = middle
        return low

    def row_of(self, id_: str) -> int | None:
        row = self.place_of(id_)
        there = row < self.count and self._column.at(row) == id_.encode(errors="surrogatepass")
        return row if there else None

    def take(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """object array of str, None where the row is −1."""
        out = np.empty(rows.shape, object)
        for query, found in enumerate(rows.tolist()):
            out[query] = [self.external(row) if row >= 0 else None for row in found]
        return out


class IntegerIds:
    """External ids that are integers, sorted by value."""

    def __init__(self, folder: Path) -> None:
        self._file = pa.memory_map(str(folder / IDS_FILE))
        table = pa.ipc.open_file(self._file).read_all().combine_chunks()
        self._values: NDArray[np.int64] = table.column(0).to_numpy()
        self.count = len(self._values)

    def external(self, row: int) -> str:
        if not 0 <= row < self.count:
            raise IndexError(f"row {row} of {self.count}")
        return str(self._values[row])

    def place_of(self, id_: str) -> int:
        """How many ids come before it, which is an integer in decimals."""
        return int(np.searchsorted(self._values, int(id_)))

    def row_of(self, id_: str) -> int | None:
        try:
            wanted = int(id_)
        except ValueError:
            return None
        if str(wanted) != id_ or not -(2**63) <= wanted < 2**63:
            return None
        row = int(np.searchsorted(self._values, wanted))
        return row if row < self.count and self._values[row] == wanted else None

    def take(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """int64, −1 where the row is −1."""
        found = self._values.take(rows, mode="wrap")  # −1 takes the last
        found[rows < 0] = -1
        return found
