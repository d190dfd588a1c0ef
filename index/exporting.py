"""`perwatt export`: an index as files that anything reads.

    docs.parquet              id, title, text, each filterable field as a column of its type, the vector; the other
                              fields of a document are one JSON object in `metadata`
    docs.npy and docs.jsonl   the vectors, and in the same order the ids with every field

Rows are those that a search finds now: of the served generation, with what was written since and without what was
deleted. Cosine vectors have length 1, as the index holds them. Memory holds some thousand rows; a file is there whole
or not at all.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO

import click
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from embed.vectors.durable import replacing
from index.changes.fold import Folded
from index.changes.rebuild import served_rows
from index.disk.root import Root
from index.disk.vectors_folder import Batch
from index.options import root_option
from index.search.fields.columns import TYPES
from index.search.generation import Generation
from index.shards.sealed import ShardedIndex

STRINGS = ("title", "text")
ARROW = {"int": pa.int64(), "float": pa.float64(), "bool": pa.bool_(), "keyword[]": pa.list_(pa.string())}
COLUMNS = ("id", "vector", "metadata", *STRINGS)


@click.command("export")
@click.argument("name")
@root_option
@click.option(
    "--to",
    "out",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="File to write: .parquet, or .npy with a .jsonl beside it.",
)
@click.option("--replace", is_flag=True, help="Replace files that are there.")
def export(name: str, root: Path, out: Path, replace: bool) -> None:
    """Write index NAME to Parquet, or to .npy and JSON Lines, with what was written to it since."""
    if out.suffix not in (".parquet", ".npy"):
        raise click.BadParameter(
            f"{out} ends in {out.suffix or 'nothing'}; expected .parquet or .npy", param_hint="--to"
        )
    files = [out] if out.suffix == ".parquet" else [out, out.with_suffix(".jsonl")]
    if there := [file for file in files if file.exists() and not replace]:
        raise click.BadParameter(f"{there[0]} is there already; --replace replaces it", param_hint="--to")
    with ExitStack() as opened:
        sources = [opened.enter_context(served_rows(place, name, 1)) for place in _places(root, name)]
        first, count = sources[0], sum(source.count for source in sources)
        written = [opened.enter_context(replacing(file)) for file in files]
        bar = opened.enter_context(tqdm(total=count, unit=" rows", disable=None))
        batches = _shown((batch for source in sources for batch in source.batches()), bar)
        if out.suffix == ".parquet":
            _write_parquet(batches, first.dim, _fields(first), written[0])
        else:
            _write_npy(batches, count, first.dim, *written)
    click.echo(f"{count:,} documents of {name} are in {' and '.join(map(str, files))}", err=True)


def _places(root: Path, name: str) -> list[Root]:
    """The folders of indexes that hold an index: one for each shard."""
    sharded = ShardedIndex(root, name)
    return sharded.generation().roots if sharded.there else [Root(root)]


def _fields(source: Folded) -> dict[str, str]:
    """Filterable fields with their types."""
    assert isinstance(source.base, Generation)
    return {name: type_ for name, type_ in source.base.manifest["filterable"].items() if name not in COLUMNS}


def _shown(batches: Iterator[Batch], bar: tqdm[Any]) -> Iterator[Batch]:
    for batch in batches:
        yield batch
        bar.update(len(batch.ids))


def _write_parquet(batches: Iterator[Batch], dim: int, fields: dict[str, str], file: BinaryIO) -> None:
    columns_of: dict[str, Any] = {
        "id": pa.string(),
        **dict.fromkeys(STRINGS, pa.string()),
        **{name: ARROW.get(type_, pa.string()) for name, type_ in fields.items()},
        "metadata": pa.string(),
        "vector": pa.list_(pa.float32(), dim),
    }
    schema = pa.schema(columns_of)
    with pq.ParquetWriter(file, schema, compression="zstd", use_dictionary=False) as writer:
        for batch in batches:
            payloads = [json.loads(raw) for raw in batch.payload or [b"{}"] * len(batch.ids)]
            columns: dict[str, Any] = {"id": [str(id_) for id_ in batch.ids]}
            for name in STRINGS:
                columns[name] = [_taken(payload, name, None) for payload in payloads]
            for name, type_ in fields.items():
                columns[name] = [_taken(payload, name, type_) for payload in payloads]
            columns["metadata"] = [json.dumps(rest, ensure_ascii=False) if rest else None for rest in payloads]
            arrays = [pa.array(columns[name], schema.field(name).type) for name in schema.names[:-1]]
            flat = pa.array(batch.vectors.ravel(), pa.float32())
            vectors = pa.FixedSizeListArray.from_arrays(flat, dim)
            writer.write_batch(pa.record_batch([*arrays, vectors.cast(schema.field("vector").type)], schema=schema))


def _taken(payload: dict[str, Any], name: str, type_: str | None) -> Any:
    """The value of a column, which leaves the payload; None where it is of another kind, and then it stays."""
    value = payload.get(name)
    if value is None:
        payload.pop(name, None)
        return None
    if type_ in ARROW:
        value = TYPES[type_].read(value)  # a string of a CSV file as the number that was declared
    elif not isinstance(value, str):
        return None
    payload.pop(name)
    return value


def _write_npy(batches: Iterator[Batch], count: int, dim: int, vectors: BinaryIO, records: BinaryIO) -> None:
    header = {"descr": "<f4", "fortran_order": False, "shape": (count, dim)}
    np.lib.format.write_array_header_2_0(vectors, header)
    for batch in batches:
        vectors.write(np.ascontiguousarray(batch.vectors, "<f4").data)
        for id_, raw in zip(batch.ids, batch.payload or [b"{}"] * len(batch.ids), strict=True):
            records.write(json.dumps({"id": str(id_), **_others(raw)}, ensure_ascii=False).encode() + b"\n")


def _others(raw: bytes) -> dict[str, Any]:
    """Every field but one that is called like the id."""
    payload: dict[str, Any] = json.loads(raw)
    if "id" in payload:
        payload["metadata_id"] = payload.pop("id")
    return payload
