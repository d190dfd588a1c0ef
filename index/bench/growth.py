"""What ten times as many rows cost: queries a second and seconds of a build at each size, and the exponent of their
growth.

Each size is a run of `perwatt bench ann` with few engines: the real vectors as far as they reach, then mixtures of two
(build.py), the same held-out queries at every size. A size may be measured of ours alone, without originals, where
peers do not fit (alone.py). Figures are those of the least effort that reaches TARGET. A value
that grows with rows to the power of e has the exponent e, fitted to the logarithms by least squares.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click
import numpy as np

from index.bench import alone as alone_sizes
from index.bench.ann.engine import Entry
from index.bench.ann.engines import ENGINES, chosen
from index.bench.ann.race import RaceCase
from index.bench.ann.run import measure as race
from index.bench.ann.vectors import AnnWorkload
from index.bench.build import grown
from index.bench.changes import loaded
from index.bench.errors import BenchError

SIZES, TARGET, K = (10_000, 100_000, 1_000_000), "0.95", 10
NAMES = (
    "perwatt-compact", "perwatt-auto", "perwatt-quick", "perwatt-dropped", "perwatt-refined", "rabitqlib", "hnswlib",
)  # fmt: skip
ALONE, ALONE_ROWS = "perwatt-dropped", 10_000_000
FITTED = ("queries_per_s", "cpu_us", "build_s", "build_cpu_s")


def measure(
    source: Path | None = None,
    sizes: Sequence[int] = SIZES,
    names: Sequence[str] = NAMES,
    among: Sequence[Entry] = ENGINES,
    alone: Sequence[int] = (),
    work: Path | None = None,
    *,
    show: bool = False,
) -> dict[str, Any]:
    """Figures with the unit in their name.

    Args:
        source: As `perwatt bench ann` takes it; by default WordNet's embeddings in $PERWATT_DATA.
        names: Of engines, beside perwatt.
        alone: Sizes that ALONE is measured at by itself.
        work: Where the files of those lie, and stay. A folder on a disk.

    Raises BenchError for fewer than two sizes, and for names that are no engine's.
    """
    if len(set(sizes)) < 2:
        raise BenchError(f"growth needs two sizes, and {len(set(sizes))} was given")
    entries, load = chosen(names, among), loaded(source)
    if alone and ALONE not in {entry.name for entry in entries}:
        raise BenchError(f"--alone measures {ALONE}, which is not among {', '.join(entry.name for entry in entries)}")
    runs = []
    for size in sorted(set(sizes)):
        whole = AnnWorkload(load.name, grown(load.rows, size), load.queries, load.metric)
        runs.append(race(whole, entries, ks=(K,), threads=(1,), show=show))
    points: dict[str, list[dict[str, Any]]] = {
        entry.name: [point for run in runs if (point := _point(run, entry.name))] for entry in entries
    }
    figures = {
        "vectors": load.name,
        "real_rows": len(load.rows),
        "dim": load.rows.shape[1],
        "sizes": sorted(set(sizes)),
        "target": float(TARGET),
        "k": K,
        "measured_at": runs[-1]["measured_at"],
        "machine": runs[0]["machine"],  # later ones would take this benchmark for other work
        "engines": [
            {
                "name": entry.name,
                "label": entry.label,
                "ours": entry.ours,
                "points": points[entry.name],
            }
            for entry in entries
            if points[entry.name]
        ],
        "failed": [{"rows": run["vectors"]["rows"]} | each for run in runs for each in run["failed"]],
    }
    points_alone = measure_alone(source, sorted(set(alone)), work, among, show=show)["points"] if alone else []
    return joined(figures, points_alone)


def measure_alone(
    source: Path | None = None,
    sizes: Sequence[int] = (ALONE_ROWS,),
    work: Path | None = None,
    among: Sequence[Entry] = ENGINES,
    *,
    show: bool = False,
) -> dict[str, Any]:
    """{"points"}: of ALONE at sizes where peers do not fit; arguments are those of `measure`."""
    load, [entry] = loaded(source), [each for each in among if each.name == ALONE]
    with ExitStack() as stack:
        folder = work or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="perwatt-growth-")))
        return {"points": [alone_sizes.measure(load, size, entry, folder, float(TARGET), show=show) for size in sizes]}


def joined(figures: dict[str, Any], points: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The figures with these points of ALONE, and the exponents of all."""
    engines = [
        each | {"points": [*each["points"], *points]} if each["name"] == ALONE else each for each in figures["engines"]
    ]
    return figures | {
        "sizes": sorted({*figures["sizes"], *(point["rows"] for point in points)}),
        "engines": [each | {"exponents": exponents(each["points"])} for each in engines],
    }


def _point(run: dict[str, Any], name: str) -> dict[str, Any] | None:
    """Of one engine at one size; None where it was left out or misses the target."""
    engine = next((each for each in run["engines"] if each["name"] == name), None)
    at = engine and engine["cases"][RaceCase(K, 1).name]["at"][TARGET]
    if engine is None or at is None:
        return None
    return {
        "rows": run["vectors"]["rows"],
        "recall": at["recall"],
        "queries_per_s": at["qps"],
        "cpu_us": at["cpu_us"],
        "build_s": engine["build"]["seconds"],
        "build_cpu_s": engine["build"]["cpu_seconds"],
    }


def exponents(points: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Of each figure; none of fewer than two sizes."""
    if len(points) < 2:
        return {}
    rows = np.log([point["rows"] for point in points])
    fitted = {name: np.polyfit(rows, np.log([max(point[name], 1e-9) for point in points]), 1)[0] for name in FITTED}
    return {name: round(float(slope), 3) for name, slope in fitted.items()}


@click.command("growth")
@click.option(
    "--vectors",
    "source",
    type=click.Path(path_type=Path, exists=True),
    help="An .npy file (n, dim), a folder of vectors, or a generation.  [default: WordNet's, in $PERWATT_DATA]",
)
@click.option(
    "--rows", "sizes", type=click.IntRange(min=1000), multiple=True, default=SIZES, show_default=True, help="Sizes."
)
@click.option("--alone", type=click.IntRange(min=1000), multiple=True, help="Sizes of ours alone, without originals.")
@click.option("--work", type=click.Path(path_type=Path), help="Keep the files of --alone here.")
@click.option("--peers", "names", multiple=True, default=NAMES, show_default=True, help="Beside perwatt.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def bench_growth(as_json: bool, **options: Any) -> None:
    """Time searches and builds of ten times as many rows, and fit the exponent of their growth."""
    figures = measure(show=not as_json, **options)
    if as_json:
        click.echo(json.dumps(figures, indent=1))
        return
    for engine in figures["engines"]:
        for point in engine["points"]:
            click.echo(
                f"{engine['label']:<26}{point['rows']:>11,} rows {point['queries_per_s']:>10,.0f} queries/s "
                f"{point['cpu_us']:>8,.1f} µs  built in {point['build_s']:>8,.1f} s"
            )
        click.echo(f"{'':<26}exponents: " + ", ".join(f"{k} {v:g}" for k, v in engine["exponents"].items()))
