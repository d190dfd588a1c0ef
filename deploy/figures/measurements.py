"""The measurements by name: each calls the benchmark of its package, and what it returns is kept as JSON."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from deploy.figures import ann_runs
from deploy.figures.store import KEPT, TOP, keep, make_of, this_machine
from deploy.instructions import measure as instructions
from deploy.jobs import bench as jobs
from deploy.judges import measure as judges
from embed.bench import encode
from index.bench import build, changes, filtered, growth, kernels, originals
from index.bench import open as opening
from index.bench.disk import run as disk
from loadtest.bench import experiment, generator
from service.bench import changes as http_changes
from service.bench import race, writes
from service.bench.judged import fusion, quality, query_encoders
from service.bench.routed import cost
from service.bench.texts import hybrid, price

_DATA = TOP / ".perwatt"
_VECTORS, _INDEXES, _INDEX = _DATA / "vectors" / "python-stdlib", _DATA / "indexes", "python-stdlib"
_HTTP = _DATA / "http"


def _peers() -> Path:
    """The peers' environments and what they have built; kept, so that the next run takes minutes."""
    return Path(os.environ.get("PERWATT_PEERS", _DATA / "peers"))


MEASUREMENTS: dict[str, Callable[[], Any]] = {
    "encode": encode.measure,
    "quality": quality.measure,
    "queries": query_encoders.measure,
    "fusion": fusion.measure,
    "hybrid": hybrid.measure,
    "text": lambda: price.measure_both(_DATA / "text"),
    "index": lambda: build.measure(_VECTORS),
    "kernels": kernels.measure,
    "ann": lambda: ann_runs.main_run(KEPT / f"ann.{make_of(this_machine())}.svg"),
    "ann-others": ann_runs.other_runs,
    "originals": lambda: {
        "graph": originals.measure_file(Path(os.environ["PERWATT_DATA"]) / ann_runs.WORDNET),
        "judged": quality.without_originals(),
    },
    "filtered": lambda: {profile: filtered.measure(profile=profile) for profile in ("compact", "speed")},
    # As many as there are real vectors, and ten times as many.
    "disk": lambda: {
        name: disk.measure(rows=rows, work=_DATA / "disk", show=True)
        for name, rows in (("real", 100_000), ("mixed", disk.ROWS))
    },
    "growth": lambda: growth.measure(show=True),
    "generator": lambda: generator.measure(_VECTORS, _INDEXES, _INDEX),
    "http": lambda: race.measure(folder=_peers(), work=_HTTP),
    "http-workers": lambda: race.measure_workers(work=_HTTP),
    "open": opening.measure,
    # Grown to the size of the target, and as large as the real vectors are.
    "changes": lambda: {
        "large": changes.measure(),
        "real": changes.measure(rows=50_000),
        "http": http_changes.measure(),
    },
    "writes": lambda: writes.measure(folder=_peers(), work=_HTTP),
    "router": lambda: cost.measure(work=_HTTP),
    "experiment": lambda: experiment.measure(
        "pgvector",
        _VECTORS,
        _INDEXES,
        _INDEX,
        _peers(),
        _DATA / "experiment",
        sample=KEPT,
        **experiment.asked(os.environ),
    ),
    "instructions": instructions.measure,
    "judges": lambda: judges.measure(_DATA / "judges"),
}


# Those that need more than this environment has, or 24 GiB of memory and 60 of disk; asked for by name.
ALONE: dict[str, Callable[[], Any]] = {
    "growth-alone": lambda: growth.measure_alone(work=_DATA / "growth", show=True),
    "disk-alone": lambda: disk.measure(
        rows=10_000_000, names=("perwatt-disk", "faiss-pq96-sq8"), work=_DATA / "disk", show=True
    ),
    "jobs": lambda: jobs.measure(
        int(os.environ.get("ROWS") or jobs.ROWS),
        os.environ.get("RAY_PYTHON", sys.executable),
        Path(os.environ["TEXTS"]) if os.environ.get("TEXTS") else None,
        os.environ.get("TEXTS_ARE"),
    ),
}


def measure(name: str) -> None:
    known = MEASUREMENTS | ALONE
    if name not in known:
        raise SystemExit(f"No measurement is called {name!r}, expected some of: {', '.join(known)}.")
    try:
        figures = known[name]()
    except click.ClickException as error:
        raise SystemExit(f"{name} was not measured: {error.message}") from None
    keep(name, figures)
    print(json.dumps(figures, indent=1))
