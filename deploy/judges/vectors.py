"""The vectors that the judges of vector search are given, with their true neighbours by NumPy alone, and the files that
each judge reads."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from index.bench.ann.vectors import workload

WORDNET = "wordnet_minilm_f16.npy"  # in $PERWATT_DATA
ROWS, QUERIES = 20_000, 500
K = 10  # neighbours that are asked for
KEPT = 100  # that a file has of each query
KINDS, YEARS = 10, range(1990, 2020)  # fields of the filtered set
SEED = 20261129


class JudgedVectors(NamedTuple):
    """Of length 1. rows (n, dim), queries (q, dim); neighbours (q, KEPT), best first, with 1 − cosine."""

    name: str
    rows: NDArray[np.float32]
    queries: NDArray[np.float32]
    neighbours: NDArray[np.int64]
    distances: NDArray[np.float64]


def judged_vectors(rows: int = ROWS, queries: int = QUERIES) -> JudgedVectors:
    """WordNet's embeddings in $PERWATT_DATA, or the docstrings at hand."""
    data = os.environ.get("PERWATT_DATA")
    load = workload(Path(data) / WORDNET if data else None, metric="cosine", limit=rows)
    asked = load.queries[:queries]
    name = "WordNet, MiniLM" if data else load.name
    return JudgedVectors(name, load.rows, asked, *nearest(load.rows, asked))


def nearest(
    rows: NDArray[np.float32], queries: NDArray[np.float32], kept: NDArray[np.bool_] | None = None
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The KEPT nearest of each query among the rows that are `kept` for it (q, n), or all."""
    distances = 1.0 - queries.astype(np.float64) @ rows.astype(np.float64).T
    if kept is not None:
        distances[~kept] = np.inf
    found = np.argsort(distances, axis=1, kind="stable")[:, :KEPT]
    return found, np.take_along_axis(distances, found, axis=1)


def write_hdf5(path: Path, vectors: JudgedVectors, distance: str) -> None:
    """As ann-benchmarks has it, with what VIBE adds."""
    import h5py

    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file.attrs.update(
            {"type": "dense", "distance": distance, "dimension": vectors.rows.shape[1], "point_type": "float"}
        )
        file["train"], file["test"] = vectors.rows, vectors.queries
        file["neighbors"], file["distances"] = vectors.neighbours, vectors.distances
        file["avg_distances"] = 1.0 - vectors.queries @ vectors.rows.mean(axis=0)


def write_parquet(folder: Path, vectors: JudgedVectors) -> None:
    """VectorDBBench's custom data set."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir(parents=True, exist_ok=True)
    for name, values in (("train", vectors.rows), ("test", vectors.queries)):
        pq.write_table(pa.table({"id": np.arange(len(values)), "emb": list(values)}), folder / f"{name}.parquet")
    truth = {"id": np.arange(len(vectors.neighbours)), "neighbors_id": list(vectors.neighbours)}
    pq.write_table(pa.table(truth), folder / "neighbors.parquet")


def write_filtered(folder: Path, vectors: JudgedVectors) -> dict[str, str]:
    """vector-db-benchmark's data set with fields and a condition in every query; returns its schema.

    Some 1 of 100 rows survive a condition.
    """
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(SEED)
    kinds = generator.integers(KINDS, size=len(vectors.rows))
    years = generator.integers(YEARS.start, YEARS.stop, size=len(vectors.rows))
    asked = [(int(generator.integers(KINDS)), int(generator.choice(YEARS[:-3]))) for _ in vectors.queries]
    kept = np.array([(kinds == kind) & (years >= year) & (years < year + 3) for kind, year in asked])
    neighbours, distances = nearest(vectors.rows, vectors.queries, kept)
    np.save(folder / "vectors.npy", vectors.rows)
    _write_lines(
        folder / "payloads.jsonl",
        [{"kind": f"k{kind}", "year": int(year)} for kind, year in zip(kinds, years, strict=True)],
    )
    _write_lines(
        folder / "tests.jsonl",
        [
            {
                "query": query.tolist(),
                "conditions": {
                    "and": [
                        {"kind": {"match": {"value": f"k{kind}"}}},
                        {"year": {"range": {"gte": year, "lt": year + 3}}},
                    ]
                },
                "closest_ids": near[:K].tolist(),
                "closest_scores": far[:K].tolist(),
            }
            for query, (kind, year), near, far in zip(vectors.queries, asked, neighbours, distances, strict=True)
        ],
    )
    return {"kind": "keyword", "year": "int"}


def _write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
