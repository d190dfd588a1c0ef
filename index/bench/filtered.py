"""Searches through filters: what a planned one costs beside the cheaper of a walk and a scan, and what it finds.

Every cell is a number of hits, a share of the rows that survive, and where the survivors lie: `near` the query (its
nearest rows), `far` from it (its farthest), or `unrelated` to it. Searches are bare, one query at a time on one thread,
and their processor time is taken, so that what else the machine does hardly counts; the filter's bitmap is known
already. A walk alone stops when it is sure to cost six times the scan, and counts as six scans: what it would have
taken does not matter any more. Beside the cells stand the same searches without a filter: some queries need several
times the work of others, whatever they are filtered by.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np
import numpy.typing as npt

from index import Generation, Root, build_generation, kernels, open_generation
from index.bench.build import grown
from index.bench.changes import loaded
from index.bench.errors import BenchError
from index.search.bitmap import Bitmap
from index.search.exact import TopK
from index.search.finding import HIT, SCAN, WORTH, SearchPlan, find, scan_cost

Float = npt.NDArray[np.float32]

KS, SHARES, KINDS = (10, 100, 1000), (0.001, 0.01, 0.05, 0.2, 0.4, 0.6, 0.9), ("unrelated", "near", "far")
QUERIES, ROUNDS, PATIENCE = 100, 2, 6
# Of a planned search: times the cheaper way, p99 over p50, and the share of queries that find 0.95 of the best.
DEARER, TAIL, FOUND, RECALL = 1.5, 3.0, 0.99, 0.95


class Cell(NamedTuple):
    kind: str
    share: float
    k: int


def measure(
    source: Path | None = None,
    rows: int = 100_000,
    profile: str = "compact",
    queries: int = QUERIES,
    ks: tuple[int, ...] = KS,
    shares: tuple[float, ...] = SHARES,
    work: Path | None = None,
) -> dict[str, Any]:
    """Figures with the unit in their name.

    Args:
        source: As `perwatt bench ann` takes it; by default WordNet's embeddings in $PERWATT_DATA.
        work: Keep the generation here, for the next time.
    """
    if max(ks) > rows:
        raise BenchError(f"k is {max(ks):,} with {rows:,} rows; expected no more than there are.")
    busy, load = os.getloadavg()[0], loaded(source)
    with ExitStack() as stack:
        folder = work or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="perwatt-bench-")))
        path = _generation(folder, grown(load.rows, rows), profile, load.key)
        opened = stack.enter_context(open_generation(path, threads=1))
        asked = opened.checked(load.queries[:queries])
        return {
            "vectors": load.name,
            "real_rows": min(len(load.rows), rows),
            "rows": rows,
            "dim": opened.dim,
            "profile": opened.profile,
            "effort": opened.default_effort,
            "machine": {"load_average": round(busy, 1)},  # when the run began
            "queries": len(asked),
            "unfiltered": [{"k": k} | _spread(_times(opened, asked, k)) for k in ks],
            "cells": [
                cell._asdict() | _measured(opened, asked, keeps, cell.k)
                for cell, keeps in _cells(opened, asked, ks, shares)
            ],
        }


def missed(cell: dict[str, Any]) -> list[str]:
    """Which targets a cell misses."""
    held = {
        "cost": cell["ratio"] <= DEARER,
        "tail": cell["p99_us"] <= TAIL * cell["p50_us"],
        "recall": cell["found"] >= FOUND,
    }
    return [name for name, met in held.items() if not met]


def _generation(work: Path, vectors: Float, profile: str, key: str) -> Path:
    name = f"filtered-{len(vectors)}-{vectors.shape[1]}-{profile}-{key}"
    if (work / name).exists():
        return Root(work).path(name)
    how = {"metric": "cosine", "family": "graph", "profile": profile}
    return build_generation(vectors, np.arange(len(vectors)), root=work, name=name, **how)  # type: ignore[arg-type]


def _cells(
    opened: Generation, queries: Float, ks: tuple[int, ...], shares: tuple[float, ...]
) -> Iterator[tuple[Cell, list[Bitmap]]]:
    """Each cell with the filter of every query."""
    count, random = opened.count, np.random.default_rng(0)
    vectors = opened.vectors(0, count)
    ranked = np.stack([np.argsort(-(vectors @ query)).astype(np.int32) for query in queries])
    for share in shares:
        survivors = max(1, round(share * count))
        by_chance = opened.only(random.choice(count, survivors, replace=False))
        kept: dict[str, Callable[[], list[Bitmap]]] = {
            "unrelated": lambda chosen=by_chance: [chosen] * len(queries),  # type: ignore[misc]
            "near": lambda most=survivors: [opened.only(order[:most]) for order in ranked],  # type: ignore[misc]
            "far": lambda most=survivors: [opened.only(order[-most:]) for order in ranked],  # type: ignore[misc]
        }
        for kind, made in kept.items():
            keeps = made()
            for k in ks:
                yield Cell(kind, share, k), keeps


def _measured(opened: Generation, queries: Float, keeps: list[Bitmap], k: int) -> dict[str, Any]:
    """Microseconds of processor time of the three ways, and what the planned one found."""
    effort, rows, searcher = opened.default_effort, opened._rows, opened._searcher
    assert searcher is not None
    took: dict[str, list[float]] = {"scan": [], "walk": [], "planned": []}
    found: dict[str, TopK] = {}
    recalls: list[float] = []
    at_once = 0
    for query, keep in zip(queries, keeps, strict=True):
        plan = opened._planner.plan(k, effort, keep)
        patient = SearchPlan(
            budget=max(1, int(PATIENCE * (scan_cost(keep) + HIT * k) / WORTH[opened.profile or opened.family]))
        )
        at_once += plan.scan
        assert keep.runs <= len(keep.rows32)  # made and kept by now
        ways: dict[str, Callable[[], TopK]] = {
            "scan": lambda q=query, b=keep: find(rows, searcher, q[None], k, effort, keep=b, plan=SCAN),  # type: ignore[misc]
            "walk": lambda q=query, b=keep, p=patient: searcher.search(q[None], k, effort, b, p),  # type: ignore[misc]
            "planned": lambda q=query, b=keep: opened.search_checked(q[None], k, keep=b),  # type: ignore[misc]
        }
        least = dict.fromkeys(ways, np.inf)
        for turn in range(
            ROUNDS
        ):  # there and back: what a walk reads drives out what a scan read, for either of the others
            for name in list(ways)[:: 1 if turn % 2 == 0 else -1]:
                start_ns = time.thread_time_ns()
                found[name] = ways[name]()
                least[name] = min(least[name], (time.thread_time_ns() - start_ns) / 1e3)
        if found["walk"].rows[0, min(k, keep.count) - 1] < 0:
            least["walk"] = max(least["walk"], PATIENCE * least["scan"])
        for name, us in least.items():
            took[name].append(float(us))
        reach = min(k, keep.count)
        recalls.append(float((found["planned"].scores[0, :reach] >= found["scan"].scores[0, reach - 1]).mean()))
    mean = {name: float(np.mean(each)) for name, each in took.items()}
    return {
        **{f"{name}_us": round(each, 1) for name, each in mean.items()},
        "ratio": round(mean["planned"] / min(mean["scan"], mean["walk"]), 3),
        **_spread(took["planned"]),
        "at_once": round(at_once / len(queries), 3),
        "found": round(float(np.mean(np.array(recalls) >= RECALL)), 3),
        "recall": round(float(np.mean(recalls)), 4),
        "least_recall": round(min(recalls), 3),
    }


def _times(opened: Generation, queries: Float, k: int) -> list[float]:
    """Microseconds of processor time of a search without a filter: for each query, the least of ROUNDS."""
    took = []
    for query in queries:
        least = np.inf
        for _ in range(ROUNDS):
            start_ns = time.thread_time_ns()
            opened.search_checked(query[None], k)
            least = min(least, (time.thread_time_ns() - start_ns) / 1e3)
        took.append(float(least))
    return took


def _spread(took_us: list[float]) -> dict[str, float]:
    p50, p99 = np.percentile(took_us, [50, 99])
    return {"p50_us": round(float(p50), 1), "p99_us": round(float(p99), 1)}


@click.command("filtered")
@click.option(
    "--vectors",
    "source",
    type=click.Path(path_type=Path, exists=True),
    help="An .npy file (n, dim), a folder of vectors, or a generation.  [default: WordNet's, in $PERWATT_DATA]",
)
@click.option("--rows", type=click.IntRange(min=1000), default=100_000, show_default=True, help="Of the generation.")
@click.option("--profile", type=click.Choice(["speed", "compact"]), default="compact", show_default=True)
@click.option("--queries", type=click.IntRange(min=1), default=QUERIES, show_default=True, help="Of each cell.")
@click.option("--k", "ks", type=click.IntRange(min=1), multiple=True, default=KS, show_default=True, help="Hits.")
@click.option(
    "--share", "shares", type=click.FloatRange(0, 1), multiple=True, default=SHARES, show_default=True,
    help="Of the rows that survive.",
)  # fmt: skip
@click.option("--work", type=click.Path(path_type=Path), help="Keep what was built here, for the next time.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def bench_filtered(as_json: bool, **options: Any) -> None:
    """Time searches through filters beside the cheaper of a walk and a scan."""
    figures = measure(**options)
    if as_json:
        click.echo(json.dumps(figures, indent=1))
        return
    click.echo(
        f"{figures['vectors']}: {figures['rows']:,} × {figures['dim']}, {figures['profile']}, effort "
        f"{figures['effort']}, one thread, µs of processor time, {kernels.info()['isa']}"
    )
    for each in figures["unfiltered"]:
        click.echo(f"without a filter, k = {each['k']:,}: p50 {each['p50_us']:,.0f} µs, p99 {each['p99_us']:,.0f} µs")
    click.echo("survivors           k      scan      walk   planned  ratio  p99/p50  found  least  missed")
    for cell in figures["cells"]:
        click.echo(
            f"{cell['kind']:<10} {cell['share']:>6.1%} {cell['k']:>5} "
            f"{cell['scan_us']:>9,.0f} {cell['walk_us']:>9,.0f} "
            f"{cell['planned_us']:>9,.0f} {cell['ratio']:>6.2f} {cell['p99_us'] / cell['p50_us']:>8.1f} "
            f"{cell['found']:>6.2f} {cell['least_recall']:>6.2f}  {', '.join(missed(cell))}"
        )
