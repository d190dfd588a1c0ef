"""The runs behind the tables of graphs: every engine on one set of vectors, and the strongest on others."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from deploy.figures.ann_picture import picture
from index.bench.ann.engine import Float, Metric
from index.bench.ann.engines import ENGINES, chosen
from index.bench.ann.run import measure
from index.bench.ann.targets import AUTO, COMPACT
from index.bench.ann.vectors import AnnWorkload, workload

WORDNET = "wordnet_minilm_f16.npy"
# The strongest peers of the main run, and those that everyone knows.
STRONGEST = ("rabitqlib", "svs", "hnswlib", "faiss-hnsw16")
OTHER_ROWS = 30_000


def main_run(picture_at: Path) -> dict[str, Any]:
    """Everything on WordNet from $PERWATT_DATA, or on docstrings at hand; draws the picture."""
    load = workload(_wordnet())
    if _wordnet():
        load = load._replace(name="WordNet, MiniLM")
    figures = measure(load, ENGINES, show=True)
    picture_at.write_text(picture(figures), encoding="utf-8")
    _drop_points(figures["engines"])  # the picture has them
    return figures


def _wordnet() -> Path | None:
    folder = os.environ.get("PERWATT_DATA")
    return Path(folder) / WORDNET if folder and (Path(folder) / WORDNET).exists() else None


def other_runs() -> list[dict[str, Any]]:
    """One thread, k = 10, against the strongest peers, on vectors that differ in origin, width, length and metric."""
    runs = []
    for load in others():
        figures = measure(load, chosen([*STRONGEST, COMPACT, AUTO]), ks=(10,), threads=(1,), show=True)
        _drop_points(figures["engines"])
        runs.append({key: figures[key] for key in ("vectors", "engines", "failed", "reached")})
    return runs


def _drop_points(engines: list[dict[str, Any]]) -> None:
    for engine in engines:
        for case in engine["cases"].values():
            del case["points"]


def others() -> list[AnnWorkload]:
    """Docstrings at hand, and what can be made of WordNet's embeddings."""
    loads = [workload(None, limit=OTHER_ROWS)]
    source = _wordnet()
    if source is None:
        return loads
    wordnet = workload(source, limit=OTHER_ROWS)
    return [
        *loads,
        _made("WordNet, MiniLM, first 128 principal components, not scaled", wordnet, _principal(wordnet, 128), "l2"),
        _made("WordNet, MiniLM, first 128 principal components", wordnet, _principal(wordnet, 128), "cosine"),
        _made("WordNet, MiniLM, tanh of 768 random projections", wordnet, _wide, "cosine"),
        _made("WordNet, MiniLM, tanh of 768 random projections, not scaled", wordnet, _wide, "ip"),
    ]


def _made(name: str, load: AnnWorkload, change: Callable[[Float], Float], metric: Metric) -> AnnWorkload:
    rows, queries = change(load.rows), change(load.queries)
    if metric == "cosine":
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    return AnnWorkload(name, rows, queries, metric)


def _principal(load: AnnWorkload, dim: int) -> Callable[[Float], Float]:
    middle = load.rows.mean(0)
    axes = np.linalg.svd(load.rows[:20000] - middle, full_matrices=False)[2][:dim].T
    return lambda rows: np.ascontiguousarray((rows - middle) @ axes, np.float32)


def _wide(rows: Float) -> Float:
    """As a layer of random weights would make of them: neither linear nor of one length."""
    weights = np.random.default_rng(1).normal(size=(rows.shape[1], 768)).astype(np.float32)
    return np.ascontiguousarray(np.tanh(1.5 * rows @ weights), np.float32)
