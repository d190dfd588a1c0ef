"""What is searched: real vectors, and queries that were held out of them.

Uniform random vectors are never made here: in hundreds of dimensions all of them are equally far apart, which no set of
embeddings is, and engines rank differently on them.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from embed.vectors.npy import NpyVectors
from index import Root, VectorsFolder, open_generation
from index.bench.ann.engine import Float, Metric
from index.bench.errors import BenchError
from index.disk.codes import quantise, unit_rows
from index.search import exact

SEED = 20261123
QUERIES = 2000
DOCSTRINGS = Path(".perwatt") / "vectors" / "python-all"  # where `make run PACKAGES=all` has them too
# Rows beyond the k-th that may tie with it: real text repeats itself.
_TIES = 40


class AnnWorkload(NamedTuple):
    """float32 rows (n, dim) and queries (q, dim); of length 1 for cosine."""

    name: str  # what it is, for a reader
    rows: Float
    queries: Float
    metric: Metric

    @property
    def key(self) -> str:
        """Eight hexadecimal digits that are others for other rows or queries: for names of what is kept of them."""
        digest = hashlib.blake2b(digest_size=4)
        for array in (self.rows, self.queries):
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()


def workload(
    source: Path | None,
    *,
    index: str | None = None,
    root: Path = Path("indexes"),
    queries: Path | None = None,
    metric: Metric | None = None,
    limit: int | None = None,
) -> AnnWorkload:
    """Reads `source` (an .npy file, a generation's folder or a folder of vectors), or the served generation of `index`,
    or else the docstrings at hand; holds out queries unless they are given. Raises BenchError, and
    NpyError for a file that cannot be used."""
    if source is not None and index is not None:
        raise BenchError("give --vectors or --index, not both.")
    if index is not None:
        source = Root(root).path(index)
    if source is None:
        name, (rows, own_metric) = "docstrings of every installed Python package", docstring_vectors()
    else:
        name, (rows, own_metric) = source.name, _read(source)
    metric = metric or own_metric
    if queries is not None:
        asked = NpyVectors(queries).rows()
        if asked.shape[1] != rows.shape[1]:
            raise BenchError(f"{queries} has {asked.shape[1]} dimensions, and the vectors have {rows.shape[1]}.")
        rows = rows[np.random.default_rng(SEED).permutation(len(rows))]
    else:
        rows, asked = _held_out(rows)
    rows = rows[:limit]
    if len(rows) < 1000:
        raise BenchError(f"{len(rows):,} rows are too few for the engines to differ; expected at least 1,000.")
    return AnnWorkload(name, _ready(rows, metric, "vectors"), _ready(asked, metric, "queries"), metric)


def truth(load: AnnWorkload, k: int, threads: int) -> NDArray[np.int64]:
    """For each query every row that is as good as its k-th best: int64 (q, ≥ k), −1 where there are no more."""
    metric: Metric = "l2" if load.metric == "l2" else "ip"
    codes = quantise(load.rows, metric)
    wanted = min(len(load.rows), k + _TIES)
    found = exact.search(load.queries, load.rows, wanted, metric, codes=codes, threads=threads)
    last = found.scores[:, min(k, wanted) - 1]
    # Equal vectors score alike to the bit here; elsewhere the same product may be rounded in another order.
    tolerance = 1e-6 * np.maximum(1.0, np.abs(last))
    return np.where(found.scores >= (last - tolerance)[:, None], found.rows, -1)


def _read(source: Path) -> tuple[Float, Metric]:
    if source.is_dir() and (source / "embed.json").exists():
        return _folder(source), "cosine"
    if source.is_dir():
        with open_generation(source) as generation:
            rows = np.stack([generation.vector(row) for row in range(generation.count)])
            return rows, generation.metric
    return NpyVectors(source).rows(), "cosine"


def _folder(source: Path) -> Float:
    return np.concatenate([batch.vectors for batch in VectorsFolder(source).batches()])


def docstring_vectors() -> tuple[Float, Metric]:
    """Embeds what was not embedded yet; the second time that takes a moment."""
    command = [sys.executable, "-m", "deploy.command", "embed", "python:all", "--out", str(DOCSTRINGS)]
    ran = subprocess.run(command, stdout=sys.stderr)
    if ran.returncode:
        raise BenchError("the docstrings at hand could not be embedded; name your own with --vectors FILE.npy.")
    return _folder(DOCSTRINGS), "cosine"


def _held_out(rows: Float) -> tuple[Float, Float]:
    """The rows without the queries, and the queries: the same ones each time, at most a tenth."""
    order = np.random.default_rng(SEED).permutation(len(rows))
    count = min(QUERIES, len(rows) // 10)
    return rows[order[count:]], rows[order[:count]]


def _ready(rows: Float, metric: Metric, what: str) -> Float:
    if metric == "cosine":
        try:
            return np.ascontiguousarray(unit_rows(rows))
        except ValueError as error:
            raise BenchError(f"{what}: {error}; use --metric ip or l2, or leave it out.") from error
    if not np.isfinite(rows).all():
        raise BenchError(f"{what} hold values that are not finite.")
    return np.ascontiguousarray(rows)
