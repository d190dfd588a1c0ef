"""Reads a folder of vectors as the encoder left it: embed.json and the Parquet fragments that it names.

Every fragment's hash is checked before any is opened, and rows come in batches, so memory stays bounded however many
there are. Files of the folder that embed.json does not name are not looked at.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from embed.vectors.manifest import MANIFEST, ManifestError, read_manifest
from index.disk import files
from index.errors import GenerationError, InputError

BATCH_ROWS = 4096
_GONE = "went away while it was read: the folder was embedded anew meanwhile; build again"


@dataclass(frozen=True)
class Batch:
    """Some rows in input order. ids: str or int. vectors: float32 (n, dim). payload: JSON objects as bytes, or None."""

    ids: list[str] | list[int]
    vectors: NDArray[np.float32]
    payload: list[bytes] | None


class Source(Protocol):
    """Rows for a build: `count` of `dim` dimensions, the `model` that made them and its `canaries`."""

    dim: int
    count: int
    model: dict[str, Any] | None
    canaries: list[dict[str, Any]]

    def check(self, threads: int) -> None:
        """Raises GenerationError for rows that are not as they were written."""

    def batches(self) -> Iterator[Batch]: ...


class VectorsFolder:
    """A folder of vectors: `count` rows of `dim` dimensions, the `model` that made them and its `canaries`.

    defaults: settings of a build that whoever wrote the folder knew, as the metric that the vectors are made for.

    Args:
        meta: what embed.json says, where there is no such file: of folders below this one, say.
    """

    def __init__(self, path: Path | str, meta: dict[str, Any] | None = None) -> None:
        self.path = Path(path)
        self._meta_path = self.path / MANIFEST
        self.meta = meta = self._read_meta() if meta is None else meta
        try:
            self.dim: int = int(meta["dim"])
            self.count: int = int(meta["count"])
            self.model: dict[str, Any] | None = meta["model"]
            self.canaries: list[dict[str, Any]] = list(meta.get("canaries", []))
            self.defaults: dict[str, Any] = dict(meta.get("defaults", {}))
            self._fragments = [
                (self.path / str(entry["file"]), int(entry["rows"]), int(entry["bytes"]), str(entry["sha256"]))
                for entry in meta["fragments"]
            ]
        except (KeyError, TypeError, ValueError) as error:
            raise GenerationError(self._meta_path, f"lacks or garbles a field: {error}") from error
        for file, *_ in self._fragments:
            if not file.is_relative_to(self.path) or ".." in file.parts[len(self.path.parts) :]:
                raise GenerationError(self._meta_path, f"names a file outside the folder: {file.name!r}")
        rows = sum(rows for _, rows, _, _ in self._fragments)
        if rows != self.count:
            raise GenerationError(self._meta_path, f"says {self.count:,} rows, and its fragments {rows:,}")

    def _read_meta(self) -> dict[str, Any]:
        try:
            meta = read_manifest(self.path)
        except ManifestError as error:
            raise GenerationError(self._meta_path, error.problem) from error
        if meta is None:
            raise InputError(
                f"{self.path} is not a folder of vectors: it has no {MANIFEST}. "
                "`perwatt embed INPUT --out DIR` writes one, as its last step."
            )
        return meta

    def settings(self) -> dict[str, Any]:
        """The defaults as `build_generation` takes them."""
        fields = self.defaults.get("filterable", {})
        found: dict[str, Any] = {"filterable": tuple(f"{name}:{type_}" for name, type_ in fields.items())}
        if metric := self.defaults.get("metric"):
            found["metric"] = metric
        return found

    def check(self, threads: int) -> None:
        """Compares every fragment's size and hash with embed.json."""
        for file, *_ in self._fragments:
            if not file.is_file():
                raise GenerationError(file, "is missing, and embed.json names it; run `perwatt embed` again")
        found = files.digests([file for file, *_ in self._fragments], threads)
        for (file, _, size, sha256), digest in zip(self._fragments, found, strict=True):
            if digest != (size, sha256):
                raise GenerationError(
                    file, "is damaged: size or SHA-256 differ from embed.json; run `perwatt embed` again"
                )

    def batches(self) -> Iterator[Batch]:
        for file, rows, *_ in self._fragments:
            try:
                yield from self._fragment(file, rows)
            except FileNotFoundError as error:
                raise GenerationError(file, _GONE) from error
            except (pa.ArrowException, KeyError) as error:
                raise GenerationError(file, f"cannot be read as Parquet: {error}") from error

    def ids(self) -> Iterator[list[str]]:
        """Of all rows in their order, some thousand at a time; vectors and payload are not read."""
        for file, *_ in self._fragments:
            try:
                with pq.ParquetFile(file, memory_map=True) as parquet:
                    self._check_schema(file, parquet.schema_arrow)
                    for batch in parquet.iter_batches(BATCH_ROWS, columns=["id"]):
                        ids: Any = batch.column("id").to_pylist()
                        yield ids
            except FileNotFoundError as error:
                raise GenerationError(file, _GONE) from error
            except (pa.ArrowException, KeyError) as error:
                raise GenerationError(file, f"cannot be read as Parquet: {error}") from error

    def table(self) -> pa.Table:
        """All rows in their order, of every column. Vectors are mapped, the rest is in memory."""
        tables = []
        for file, *_ in self._fragments:
            try:
                with pq.ParquetFile(file, memory_map=True) as parquet:
                    tables.append(parquet.read())
            except (OSError, pa.ArrowException) as error:
                raise GenerationError(file, f"cannot be read as Parquet: {error}") from error
            self._check_schema(file, tables[-1].schema)
        return pa.concat_tables(tables)

    def _fragment(self, file: Path, rows: int) -> Iterator[Batch]:
        seen = 0
        with pq.ParquetFile(file, memory_map=True) as parquet:
            self._check_schema(file, parquet.schema_arrow)
            for batch in parquet.iter_batches(BATCH_ROWS, columns=list(self._columns)):
                columns: dict[str, Any] = {name: batch.column(name) for name in self._columns}
                for name, column in columns.items():
                    if column.null_count:
                        raise GenerationError(file, f"has rows without {name!r}")
                flat = columns["vector"].flatten().to_numpy(zero_copy_only=False)
                yield Batch(
                    columns["id"].to_pylist(), flat.reshape(len(batch), self.dim), columns["payload"].to_pylist()
                )
                seen += len(batch)
        if seen != rows:
            raise GenerationError(file, f"has {seen} rows, and embed.json says {rows}")

    @property
    def _columns(self) -> dict[str, pa.DataType]:
        return {"id": pa.string(), "vector": pa.list_(pa.float32(), self.dim), "payload": pa.binary()}

    def _check_schema(self, file: Path, schema: pa.Schema) -> None:
        for name, type_ in self._columns.items():
            found: Any = schema.field(name).type if name in schema.names else None
            if name == "vector" and found is not None and pa.types.is_fixed_size_list(found):
                # What the items of the list are called is up to who wrote the file.
                found = pa.list_(found.value_type, found.list_size)
            if found != type_:
                raise GenerationError(file, f"has column {name!r} of type {found}, expected {type_}")
