"""Where the queries come from: a file of real ones. A load test with invented queries measures an invented service.

.jsonl      one object a line: {"text": …} or {"vector": […]} or {"id": …}, optionally "filter" and "truth" (ids);
            BEIR's queries.jsonl, whose "_id" is what judgements name a query by
.txt        one text query a line
.npy        float16, float32 or float64 (n, dim): one vector query a row
a folder    a vectors folder: `field` (default "title") of a seeded sample of its documents, as text queries
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from embed.vectors.manifest import ManifestError, read_manifest
from embed.vectors.npy import NpyVectors
from loadtest.errors import WorkloadError
from loadtest.workload.plan import Filter


class Query(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    """One query: a text, a vector (floats) or an id; a text and its vector for engines that are asked by both at once.
    With a filter of its own, and the ids of its true neighbours.
    """

    text: str | None = None
    vector: list[float] | None = None
    id: str | None = None
    filter: Filter | None = None
    truth: list[str] | None = None
    judged_as: str | None = msgspec.field(default=None, name="_id")  # by which judgements name it
    metadata: dict[str, Any] | None = None  # BEIR's files have it; nothing reads it

    @property
    def carries(self) -> frozenset[str]:
        """What it can be asked by: some of "text", "vector" and "id"."""
        return frozenset(kind for kind in ("text", "vector", "id") if getattr(self, kind) is not None)


def read_queries(source: Path, *, field: str = "title", limit: int = 10_000, seed: int = 0) -> list[Query]:
    """At most `limit` queries from `source`, in the file's order (a seeded sample, if there are more)."""
    if not source.exists():
        raise WorkloadError(f"no queries at {source}: give a .jsonl, .txt or .npy file, or a vectors folder")
    if source.is_dir():
        queries = _from_vectors_folder(source, field)
    elif source.suffix == ".npy":
        vectors = NpyVectors(source)
        chosen = np.array(_sample(vectors.count, limit, seed))
        return [Query(vector=row) for row in vectors.rows(chosen).tolist()]
    elif source.suffix == ".jsonl":
        queries = [_parse(line, source, number) for number, line in _lines(source)]
    elif source.suffix == ".txt":
        queries = [Query(text=line) for _, line in _lines(source)]
    else:
        raise WorkloadError(f"{source.name} is not a kind of query file: expected .jsonl, .txt, .npy, or a folder")
    if not queries:
        raise WorkloadError(f"{source} holds no query")
    return [queries[i] for i in _sample(len(queries), limit, seed)]


def as_lines(queries: list[Query]) -> bytes:
    """As .jsonl, in order."""
    return b"\n".join(msgspec.json.encode(query) for query in queries) + b"\n"


def write_queries(queries: list[Query], path: Path) -> None:
    """As .jsonl, in order."""
    path.write_bytes(as_lines(queries))


def _sample(count: int, limit: int, seed: int) -> list[int]:
    if count <= limit:
        return list(range(count))
    chosen = np.random.default_rng(seed).choice(count, limit, replace=False)
    return [int(i) for i in np.sort(chosen)]


def _lines(source: Path) -> list[tuple[int, str]]:
    try:
        text = source.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise WorkloadError(f"{source} cannot be read as UTF-8 text: {error}") from error
    return [(n, line.strip()) for n, line in enumerate(text.splitlines(), 1) if line.strip()]


def _parse(line: str, source: Path, number: int) -> Query:
    try:
        query = msgspec.json.decode(line, type=Query)
    except msgspec.MsgspecError as error:
        raise WorkloadError(f"{source.name}, line {number}: {error}") from error
    if len(query.carries) != 1 and query.carries != {"text", "vector"}:
        raise WorkloadError(
            f"{source.name}, line {number}: a query has exactly one of text, vector and id, or a text with its vector"
        )
    return query


def finished_manifest(folder: Path) -> dict[str, Any]:
    """Of a vectors folder; raises WorkloadError for one that `perwatt embed` has not finished."""
    try:
        manifest = read_manifest(folder)
    except ManifestError as error:
        raise WorkloadError(str(error)) from error
    if manifest is None:
        raise WorkloadError(f"{folder} has no embed.json, so it is not a finished vectors folder")
    return manifest


def _from_vectors_folder(folder: Path, field: str) -> list[Query]:
    import pyarrow.parquet as parquet

    manifest = finished_manifest(folder)
    texts: dict[str, None] = {}  # ordered and distinct: a title that occurs often is still one query
    try:
        for fragment in manifest["fragments"]:
            table = parquet.read_table(folder / fragment["file"], columns=["payload"])
            for payload in table.column("payload").to_pylist():
                value = json.loads(payload or b"{}").get(field)
                if isinstance(value, str) and value.strip():
                    texts[value.strip()] = None
    except (OSError, ValueError, KeyError, TypeError) as error:  # pyarrow's ArrowInvalid is a ValueError
        raise WorkloadError(f"{folder} is damaged: {error!r}; make it anew with perwatt embed") from error
    if not texts:
        raise WorkloadError(f"no document of {folder} has a text field {field!r}")
    return [Query(text=text) for text in texts]
