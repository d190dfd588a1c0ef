"""A fragment: some thousand rows of (id, text_hash, vector, payload) in one Parquet file named by
its own content.

    part-00000-<16 hex>.parquet     rows of the folder, in document order
    spool-<16 hex>.parquet          vectors of a fragment that is not finished yet: text_hash and vector only

The hex digits open the sha256 of the file, so any fragment, named in embed.json or left by a killed
run, can be checked against its own name before a byte of it is used, and a run that would write the
same rows again finds them there. The model's fingerprint id is in the Parquet metadata: vectors of
two models never mix.

Vectors are stored plain: compression gains nothing on float32 noise and costs the reader its speed.
Payload and ids are zstd. pyarrow of one version writes the same rows as the same bytes; another
version rewrites them once."""

import hashlib
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from embed.errors import EmbedError
from embed.vectors.durable import durable_file
from embed.vectors.hashes import HASH_BYTES

FINGERPRINT_KEY = b"perwatt.fingerprint"
NAME = re.compile(r"(?:part-\d{5,}|spool)-([0-9a-f]{16})\.parquet")
# By column: its path in Parquet, and its compression.
COMPRESSION: dict[str, tuple[str, Literal["zstd", "none"]]] = {
    "id": ("id", "zstd"),
    "text_hash": ("text_hash", "none"),
    "vector": ("vector.list.element", "none"),
    "payload": ("payload", "zstd"),
}


class DamagedFragmentError(EmbedError):
    """The file is not what its name says, or not a fragment."""


@dataclass(frozen=True, slots=True)
class Fragment:
    """A fragment on disk, whole and checked."""

    path: Path
    rows: int
    bytes: int
    sha256: str

    def entry(self) -> dict[str, object]:
        """Its line in embed.json."""
        return {"file": self.path.name, "rows": self.rows, "bytes": self.bytes, "sha256": self.sha256}


@dataclass(slots=True)
class FragmentRows:
    """What a fragment holds. hashes: (n,) 'S16'; vectors: float32 (n, dim); ids and payloads empty
    in a spool.
    """

    hashes: NDArray[np.bytes_]
    vectors: NDArray[np.float32]
    ids: Sequence[str] = ()
    payloads: Sequence[bytes] = ()


def _table(rows: FragmentRows, fingerprint_id: str) -> pa.Table:
    count, dim = rows.vectors.shape
    element = pa.field("element", pa.float32(), nullable=False)
    flat = pa.array(np.ascontiguousarray(rows.vectors).ravel(), type=pa.float32())
    # from_buffers, because numpy strips the trailing zero bytes of an S16 value when it hands it
    # over.
    hashes = pa.Array.from_buffers(
        pa.binary(HASH_BYTES), count, [None, pa.py_buffer(np.ascontiguousarray(rows.hashes).tobytes())]
    )
    vector_type = pa.list_(element, dim)
    vectors = pa.FixedSizeListArray.from_arrays(flat, type=vector_type)  # type: ignore[call-overload]
    columns: list[tuple[pa.Field[Any], pa.Array[Any]]] = [
        (pa.field("text_hash", pa.binary(HASH_BYTES), nullable=False), hashes),
        (pa.field("vector", vector_type, nullable=False), vectors),
    ]
    if rows.ids:
        ids = pa.array(rows.ids, pa.string())
        payloads = pa.array(rows.payloads, pa.binary())
        columns.insert(0, (pa.field("id", pa.string(), nullable=False), ids))
        columns.append((pa.field("payload", pa.binary(), nullable=False), payloads))
    schema = pa.schema([field for field, _ in columns], metadata={FINGERPRINT_KEY: fingerprint_id.encode()})
    return pa.table([column for _, column in columns], schema=schema)


def write(folder: Path, stem: str, rows: FragmentRows, fingerprint_id: str, known: Collection[str] = ()) -> Fragment:
    """As `write_table`, of these rows."""
    return write_table(folder, stem, _table(rows, fingerprint_id), known)


def write_table(folder: Path, stem: str, table: pa.Table, known: Collection[str] = ()) -> Fragment:
    """Rows with the columns of fragments as `<stem>-<hash>.parquet`, written in pages of a megabyte.

    A file whose name is in `known` (checked earlier) stays as it is. Raises WriteError."""
    with durable_file(folder / f"{stem}.parquet") as file:
        pq.write_table(
            table,
            pa.PythonFile(file, mode="w"),  # type: ignore[arg-type]
            row_group_size=table.num_rows,
            compression=dict(COMPRESSION[name] for name in table.column_names),
            use_dictionary=False,
            write_statistics=False,
        )
        path = folder / f"{stem}-{file.sha256[:16]}.parquet"
        if path.name not in known:
            file.keep(path)
    return Fragment(path, table.num_rows, file.size, file.sha256)


def check(path: Path) -> Fragment:
    """Reads the whole file once. DamagedFragmentError where its content is not what its name
    promises.
    """
    named = NAME.fullmatch(path.name)
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if named is None or digest[:16] != named[1]:
            raise DamagedFragmentError(f"{path} is damaged: its content does not have the hash in its name")
        rows = pq.read_metadata(path).num_rows
    except (OSError, pa.ArrowException) as error:
        raise DamagedFragmentError(f"{path} cannot be read as a fragment: {error}") from error
    return Fragment(path, rows, path.stat().st_size, digest)


def fingerprint_id(fragment: Fragment) -> str:
    """The id of the model whose vectors these are; "" where none is stated."""
    metadata = pq.read_schema(fragment.path).metadata or {}
    return metadata.get(FINGERPRINT_KEY, b"").decode(errors="replace")


def read_hashes(fragment: Fragment) -> NDArray[np.bytes_]:
    """(rows,) 'S16'."""
    column: Any = pq.read_table(fragment.path, columns=["text_hash"])["text_hash"].combine_chunks()
    start = column.offset * HASH_BYTES
    hashes: NDArray[np.bytes_] = np.frombuffer(
        column.buffers()[1], dtype=f"S{HASH_BYTES}", count=len(column), offset=start
    )
    return hashes


def read_vectors(fragment: Fragment) -> NDArray[np.float32]:
    """float32 (rows, dim)."""
    column: Any = pq.read_table(fragment.path, columns=["vector"])["vector"].combine_chunks()
    return np.asarray(column.flatten(), dtype=np.float32).reshape(-1, column.type.list_size)
