"""A size at which the peers do not fit: ours alone, built from a file within the memory that is there, and searched.

Rows are those of every other size (build.py), but written to a file part by part. The build is a process of its own
whose memory is watched; what is kept of the rows are their codes, since float32 originals of ten million rows of 384
dimensions are 15 GB. Truth is found by going over the file once more.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from index import Root, open_generation
from index.bench.ann.engine import Entry, Setting
from index.bench.ann.sweep import Tried, candidates, sweep
from index.bench.ann.vectors import AnnWorkload
from index.bench.ann.worker import resident_bytes
from index.bench.build import grown_parts
from index.bench.errors import BenchError
from index.progress import say

QUERIES, ROUNDS, K = 1000, 3, 10
_WATCH_S = 0.1
_NAME = "alone"
BUILD = """
import json, sys
import numpy as np
from index import build_generation
vectors, root, name, metric, how = sys.argv[1:]
rows = np.load(vectors, mmap_mode="r")
how = json.loads(how) | {"lexical": False, "progress": True}
build_generation(rows, np.arange(len(rows)), root=root, name=name, metric=metric, **how)
"""


def measure(load: AnnWorkload, rows: int, entry: Entry, folder: Path, target: float, *, show: bool) -> dict[str, Any]:
    """The figures of one size: as of a race, and {"peak_private_bytes", "peak_bytes", "file_bytes"}.

    Args:
        entry: Of ours; its arguments are those of a build, and its ladder is climbed.
        folder: On a disk with room for the rows as float32 twice, and for what is built of them.

    Raises BenchError where the build fails, and for rows that are compared by distance.
    """
    if load.metric == "l2":
        raise BenchError("rows that are compared by distance are not measured alone; expected cosine or ip")
    folder.mkdir(parents=True, exist_ok=True)
    kept = f"{rows}-{load.key}"
    vectors, root = folder / f"vectors-{kept}.npy", folder / f"indexes-{kept}"
    if not vectors.exists():
        say(f"{load.name}: writing {rows:,} × {load.rows.shape[1]}", show=show)
        _write(load, rows, vectors)
    watched = _built(vectors, root, load.metric, entry, show=show)
    queries = load.queries[:QUERIES]
    say(f"{rows:,} rows: finding the truth", show=show)
    least = _least_true(vectors, queries)
    with open_generation(Root(root).path(_NAME), threads=1, verify=False) as opened:

        def asked(setting: Setting) -> tuple[float, float, float]:
            """Recall, and seconds and processor time of all queries."""
            start_s, start_cpu_s = time.perf_counter(), time.thread_time()
            found = opened.search(queries, K, setting.effort)[0]
            spent_s, cpu_s = time.perf_counter() - start_s, time.thread_time() - start_cpu_s
            scores = np.einsum("qkd,qd->qk", _rows(vectors, np.asarray(found, np.int64)), queries)
            return float((scores >= least[:, None] - 1e-6).mean()), spent_s, cpu_s

        def attempt(setting: Setting) -> Tried:
            recall, _, cpu_s = asked(setting)
            return Tried(setting, recall, cpu_s / len(queries))

        chosen = candidates(sweep(attempt, entry.ladder, K, (target,)), target)
        if not chosen:
            raise BenchError(f"no effort of {entry.label} reaches {target:g} among {rows:,} rows")
        timed = [asked(chosen[0]) for _ in range(ROUNDS)]
        build = opened.manifest["build"]
    return {
        "rows": rows,
        "recall": round(timed[0][0], 4),
        "queries_per_s": round(len(queries) / min(seconds for _, seconds, _ in timed), 1),
        "cpu_us": round(min(cpu_s for _, _, cpu_s in timed) / len(queries) * 1e6, 1),
        "build_s": round(build["seconds"], 1),
        "build_cpu_s": round(build["cpu_seconds"], 1),
        **watched,
    }


def _write(load: AnnWorkload, rows: int, path: Path) -> None:
    part = path.with_suffix(".part")
    whole = np.lib.format.open_memmap(part, "w+", np.float32, (rows, load.rows.shape[1]))
    start = 0
    for some in grown_parts(load.rows, rows):
        whole[start : start + len(some)] = some
        start += len(some)
    whole.flush()
    part.rename(path)


def _built(vectors: Path, root: Path, metric: str, entry: Entry, *, show: bool) -> dict[str, int]:
    how = {"family": "graph", "recall_target": 0.5} | {
        name: value for name, value in entry.arguments.items() if name != "huge_pages"
    }
    words = [sys.executable, "-c", BUILD, *map(str, (vectors, root, _NAME, metric, json.dumps(how)))]
    with subprocess.Popen(words, stderr=None if show else subprocess.DEVNULL) as build:
        private = whole = 0
        while build.poll() is None:
            with suppress(OSError, KeyError):  # it may end meanwhile
                sizes = resident_bytes(build.pid)
                private, whole = max(private, sizes[0]), max(whole, sum(sizes))
            time.sleep(_WATCH_S)
    if build.returncode:
        raise BenchError(f"building {vectors.name} ended with status {build.returncode}")
    files = sum(file.stat().st_size for file in Root(root).path(_NAME).iterdir())
    return {"peak_private_bytes": private, "peak_bytes": whole, "file_bytes": files}


def _least_true(vectors: Path, queries: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The score of each query's k-th best row, float32 (q,)."""
    rows = np.load(vectors, mmap_mode="r")
    best = np.full((len(queries), K), -np.inf, np.float32)
    for start in range(0, len(rows), 1 << 17):
        scores = queries @ np.asarray(rows[start : start + (1 << 17)]).T
        some = np.partition(scores, -K, axis=1)[:, -K:]
        best = np.partition(np.concatenate([best, some], axis=1), -K, axis=1)[:, -K:]
    least: npt.NDArray[np.float32] = best.min(axis=1)
    return least


def _rows(vectors: Path, which: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    rows = np.load(vectors, mmap_mode="r")
    return np.asarray(rows[which.ravel()]).reshape(*which.shape, rows.shape[1])
