"""What changes cost a search: the generation alone beside views of it with changes, in one process, in turns.

Bare searches by vector on one thread: nothing hides the difference, not even a query's encoding. Each view has rows
that are new, or lacks a share of the generation's, or both. Recall is that of the default effort against exact search
of the same view.

Vectors are real text embeddings, grown to the size that is asked for as in build.py. Queries are held out of them. The
time of a query is the least of its rounds, so that what else the machine did falls on none.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt

from index import Generation, Root, build_generation, kernels, open_generation
from index.bench.ann.vectors import AnnWorkload, workload
from index.bench.build import grown
from index.bench.errors import BenchError
from index.changes.delta import Delta
from index.changes.log_file import Change
from index.changes.view import Searchable, View

Float = npt.NDArray[np.float32]

ROWS, DELTAS, DELETED = 250_000, (1_000, 10_000, 50_000), 0.2
QUERIES, ROUNDS, K = 1000, 7, 10
# Of the time of a search of the generation alone.
TARGETS = {"10000 rows": 1.15, "50000 rows": 1.6, "deleted": 1.1}
SEED = 20261129
_AT_ONCE = 10_000  # changes that are applied at once


def measure(
    source: Path | None = None,
    rows: int = ROWS,
    deltas: tuple[int, ...] = DELTAS,
    deleted: float = DELETED,
    rounds: int = ROUNDS,
    work: Path | None = None,
) -> dict[str, Any]:
    """Figures with the unit in their name.

    Args:
        source: As `perwatt bench ann` takes it; by default WordNet's embeddings in $PERWATT_DATA.
        deleted: The share of the generation's rows that one view lacks.
        work: Keep the generation here, for the next time.
    """
    busy, load = os.getloadavg()[0], loaded(source)
    most = max(deltas, default=0)
    vectors, queries = grown(load.rows, rows + most), load.queries[:QUERIES]
    with ExitStack() as stack:
        folder = work or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="perwatt-bench-")))
        opened = stack.enter_context(open_generation(_generation(folder, vectors[:rows], load), threads=1))
        views: dict[str, Searchable] = {"alone": opened}
        for count in deltas:
            views[f"{count} rows"] = _view(opened, vectors[rows : rows + count])
        views["deleted"] = _view(opened, vectors[:0], deleted)
        if most:
            views["both"] = _view(opened, vectors[rows:], deleted)
        spent = _spent(views, queries, rounds)
        return {
            "vectors": load.name,
            "real_rows": min(len(load.rows), rows + most),
            "rows": rows,
            "dim": opened.dim,
            "metric": opened.metric,
            "family": opened.family,
            "effort": opened.default_effort,
            "k": K,
            "machine": {"load_average": round(busy, 1)},  # when the run began
            "queries": len(queries),
            "deltas": list(deltas),
            "deleted": deleted,
            "views": {
                name: {
                    "us": round(spent[name] * 1e6, 1),
                    "ratio": round(spent[name] / spent["alone"], 3),
                    "recall": round(_recall(view, queries), 4),
                }
                for name, view in views.items()
            },
        }


def loaded(source: Path | None) -> AnnWorkload:
    """Vectors and held-out queries, as `measure` takes them. Raises BenchError where none are named."""
    if source is None:
        if "PERWATT_DATA" not in os.environ:
            raise BenchError("name an .npy file of vectors with --vectors, or a folder with WordNet's in PERWATT_DATA.")
        source = Path(os.environ["PERWATT_DATA"]) / "wordnet_minilm_f16.npy"
    return workload(source)


def _generation(work: Path, vectors: Float, load: AnnWorkload) -> Path:
    name = f"changes-{len(vectors)}-{len(load.rows)}-{vectors.shape[1]}-{load.key}"
    if (work / name).exists():
        return Root(work).path(name)
    return build_generation(
        vectors, [f"d{row}" for row in range(len(vectors))], root=work, name=name, metric="cosine", family="graph"
    )


def _view(opened: Generation, added: Float, deleted: float = 0.0) -> View:
    """With rows whose ids are new, and without a share of the old ones."""
    random = np.random.default_rng(SEED)
    gone = random.choice(opened.count, int(deleted * opened.count), replace=False)
    delta = Delta(opened, 0)
    changes = [Change(seq, opened.external_id(int(row)), None) for seq, row in enumerate(gone, 1)]
    changes += [
        Change(seq, f"new{seq}", vector.tobytes(), b"{}", b"") for seq, vector in enumerate(added, 1 + len(changes))
    ]
    for start in range(0, len(changes), _AT_ONCE):
        delta.apply(changes[start : start + _AT_ONCE])
    return View(opened, delta.snapshot())


def _spent(views: dict[str, Searchable], queries: Float, rounds: int) -> dict[str, float]:
    """Seconds of a search, one query at a time: the mean over queries of the quickest round of each."""
    least = {name: np.full(len(queries), np.inf) for name in views}
    for _ in range(rounds):
        for name, view in views.items():
            for place, query in enumerate(queries):
                start_s = time.perf_counter()
                view.search_rows(query[None], K)
                least[name][place] = min(least[name][place], time.perf_counter() - start_s)
    return {name: float(each.mean()) for name, each in least.items()}


def _recall(view: Searchable, queries: Float) -> float:
    """Of K, by scores, since rows may be equal."""
    found = view.search_rows(queries, K)
    last = view.search_rows(queries, K, exact=True).scores[:, -1:]
    return float((found.scores >= last).mean())


@click.command("changes")
@click.option(
    "--vectors",
    "source",
    type=click.Path(path_type=Path, exists=True),
    help="An .npy file (n, dim), a folder of vectors, or a generation.  [default: WordNet's, in $PERWATT_DATA]",
)
@click.option("--rows", type=click.IntRange(min=1000), default=ROWS, show_default=True, help="Of the generation.")
@click.option(
    "--delta", "deltas", type=click.IntRange(min=1), multiple=True, default=DELTAS, show_default=True, help="New rows."
)
@click.option("--deleted", type=click.FloatRange(0, 0.9), default=DELETED, show_default=True, help="Share of the old.")
@click.option(
    "--rounds", type=click.IntRange(min=1), default=ROUNDS, show_default=True, help="The quickest of a query counts."
)
@click.option("--work", type=click.Path(path_type=Path), help="Keep what was built here, for the next time.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def bench_changes(as_json: bool, **options: Any) -> None:
    """Time a search of an index with changes, beside one without."""
    figures = measure(**options)
    if as_json:
        click.echo(json.dumps(figures, indent=1))
        return
    click.echo(
        f"{figures['vectors']}: {figures['rows']:,} × {figures['dim']}, k = {K}, effort {figures['effort']}, "
        f"one thread, {kernels.info()['isa']}"
    )
    for name, row in figures["views"].items():
        click.echo(f"{name:<16} {row['us']:>8,.1f} µs {row['ratio']:>7.2f} ×   recall@{K} {row['recall']:.4f}")
