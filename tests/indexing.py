"""Vectors with a structure to find, and folders of vectors as an encoder leaves them."""

from __future__ import annotations

import hashlib
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray


def clustered(count: int, dim: int, seed: int = 0, centres: int = 40, spread: float = 0.6) -> NDArray[np.float32]:
    """Vectors around random centres: near neighbours exist, and finding them all is not trivial."""
    random = np.random.default_rng(seed)
    middles = np.random.default_rng(99).normal(size=(centres, dim))
    return (middles[random.integers(0, centres, count)] + spread * random.normal(size=(count, dim))).astype(np.float32)


def names(count: int) -> list[str]:
    """Ids that do not sort as they come."""
    return [f"doc-{(row * 7919) % count}" for row in range(count)]


def brute_force(
    queries: NDArray[np.float32], vectors: NDArray[np.float32], k: int, metric: str
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The k best by float64 arithmetic of NumPy alone: rows and scores, ties by row."""
    q, x = queries.astype(np.float64), vectors.astype(np.float64)
    if metric == "cosine":
        q, x = q / np.linalg.norm(q, axis=1, keepdims=True), x / np.linalg.norm(x, axis=1, keepdims=True)
    scores = -((q[:, None, :] - x[None]) ** 2).sum(2) if metric == "l2" else q @ x.T
    rows = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return rows, np.take_along_axis(scores, rows, 1)


def write_vectors_folder(
    folder: Path,
    ids: list[Any],
    vectors: NDArray[np.float32],
    payload: list[dict[str, Any]] | None = None,
    *,
    fragments: int = 1,
    model: dict[str, Any] | None = None,
    bare: bool = False,
    **changes: Any,
) -> Path:
    """A vectors folder of the format that `perwatt embed` writes; `changes` replace fields of embed.json.

    Args:
        bare: of vectors that no model is known of.
    """
    folder.mkdir(parents=True, exist_ok=True)
    dim, count = vectors.shape[1], len(ids)
    edges = [count * part // fragments for part in range(fragments + 1)]
    entries = []
    for number, (start, stop) in enumerate(pairwise(edges)):
        rows = [json.dumps(row).encode() for row in (payload or [{}] * count)[start:stop]]
        table = pa.table(
            {
                "id": pa.array([str(id_) for id_ in ids[start:stop]], pa.string()),
                "text_hash": pa.array([b"\0" * 16] * (stop - start), pa.binary(16)),
                "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors[start:stop].ravel()), dim),
                "payload": pa.array(rows, pa.binary()),
            }
        )
        path = folder / f"part-{number:05}-{'0' * 16}.parquet"
        pq.write_table(table, path)
        raw = path.read_bytes()
        sha256 = hashlib.sha256(raw).hexdigest()
        entries.append({"file": path.name, "rows": stop - start, "bytes": len(raw), "sha256": sha256})
    meta = {
        "format": 1,
        "model": None if bare else model or {"name": "test", "dim": dim, "id": "sha256:" + "0" * 64},
        "dim": dim,
        "count": count,
        "fragments": entries,
        "canaries": [] if bare else [{"text": "canary", "vector": vectors[0].tolist()}],
        "created_at": "2026-01-01T00:00:00+00:00",
        "run": {},
    }
    (folder / "embed.json").write_text(json.dumps(meta | changes))
    return folder
