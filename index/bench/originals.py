"""What a graph loses without its originals, and what it saves: the same graph with them and without, side by side.

    python -m index.bench.originals [VECTORS.npy [PROFILE]]      without: WordNet's of $PERWATT_DATA, compact

The last QUERIES rows are queries. Both generations are built on one thread, so their links are equal and every walk
visits the same vertices; what differs is how the best of them are scored in the end. Recall is against an exact search
of float32. Times are processor time of one thread, the best of ROUNDS in turns. Resident is what the generation's
mapped files take in a fresh process after every row was walked to, scanned and given out.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embed.vectors.npy import NpyVectors
from index import Generation, build_generation, kernels, open_generation
from index.search.bitmap import Bitmap
from index.search.rescoring import rescore

QUERIES, ROUNDS, SCANNED = 2000, 5, 50
KS = (10, 100)
NAMES = ("keep", "drop")

RESIDENT = """
import json, sys
import numpy as np
from index import open_generation
generation = open_generation(sys.argv[1], verify=False)
rows = np.array(generation.vectors(0, generation.count)[:5000])
generation.search(rows, 10)
generation.search(rows[:4], 10, exact=True)
for row in range(generation.count):
    generation.external_id(row)
if generation.originals == "drop":
    generation.search(rows[:1], generation.count, exact=True)
resident, ours = 0, False
for line in open("/proc/self/smaps"):
    fields = line.split()
    if not fields[0].endswith(":"):
        ours = sys.argv[1] in line
    elif ours and fields[0] == "Rss:":
        resident += int(fields[1]) * 1024
print(json.dumps(resident / generation.count))
"""


def main() -> None:
    source = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(os.environ["PERWATT_DATA"]) / "wordnet_minilm_f16.npy"
    print(json.dumps(measure_file(source, *sys.argv[2:3]) | {"isa": kernels.info()["isa"]}, indent=1))


def measure_file(source: Path, profile: str = "compact") -> dict[str, Any]:
    vectors = NpyVectors(source).rows()
    rows, queries = vectors[:-QUERIES], np.ascontiguousarray(vectors[-QUERIES:])
    return {"vectors": source.name} | measure(rows, queries, profile)


def measure(rows: NDArray[np.float32], queries: NDArray[np.float32], profile: str) -> dict[str, Any]:
    """Figures with the unit in their name, of both."""
    with tempfile.TemporaryDirectory() as folder:
        how: dict[str, Any] = {"root": folder, "family": "graph", "profile": profile, "threads": 1, "switch": False}
        paths = {name: build_generation(rows, np.arange(len(rows)), name=name, originals=name, **how) for name in NAMES}
        with open_generation(paths["keep"]) as kept, open_generation(paths["drop"]) as dropped:
            both = {"keep": kept, "drop": dropped}
            figures: dict[str, Any] = {
                "rows": len(rows),
                "dim": kept.dim,
                "profile": profile,
                "queries": len(queries),
                "manifest": dropped.manifest["recall"],
                "walks": [
                    {"k": k, "effort": effort} | _walked(both, queries, k, effort)
                    for effort in (kept.target_effort, kept.default_effort)
                    for k in KS
                ],
            }
            figures["exact"] = _scanned(both, queries[:SCANNED], None)
            some = kept.only(np.arange(0, kept.count, 10))
            figures["exact_tenth"] = _scanned(both, queries[:SCANNED], some)
        for name, path in paths.items():
            done = subprocess.run([sys.executable, "-c", RESIDENT, path], check=True, stdout=subprocess.PIPE)
            figures[f"resident_bytes_a_vector_{name}"] = round(json.loads(done.stdout), 1)
            figures[f"disk_bytes_a_vector_{name}"] = round(sum(f.stat().st_size for f in path.iterdir()) / len(rows), 1)
        return figures


def _walked(both: dict[str, Generation], queries: NDArray[np.float32], k: int, effort: int) -> dict[str, Any]:
    kept = both["keep"]
    asked = kept.checked(queries)
    truth = kept.search_rows(asked, k, exact=True).scores[:, -1:]
    figures: dict[str, Any] = {}
    for name, generation in both.items():
        found = generation.search_rows(asked, k, effort)
        true = rescore(asked, kept.vectors(0, kept.count), found.rows, found.scored, k, l2=False)
        figures[f"recall_{name}"] = round(float((true.scores >= truth).mean()), 5)
    figures["loss"] = round(figures["recall_keep"] - figures["recall_drop"], 5)
    calls = {name: partial(generation.search_rows, asked, k, effort) for name, generation in both.items()}
    return figures | _timed(calls, len(asked))


def _scanned(both: dict[str, Generation], queries: NDArray[np.float32], keep: Bitmap | None) -> dict[str, Any]:
    asked = both["keep"].checked(queries)

    def scan(generation: Generation) -> None:
        for query in asked:
            generation.search_rows(query[None], 10, exact=True, keep=keep)

    return _timed({name: partial(scan, generation) for name, generation in both.items()}, len(asked))


def _timed(calls: Mapping[str, Callable[[], object]], queries: int) -> dict[str, float]:
    """Microseconds a query."""
    least = dict.fromkeys(calls, float("inf"))
    for _ in range(ROUNDS):
        for name, call in calls.items():
            start_ns = time.thread_time_ns()
            call()
            least[name] = min(least[name], (time.thread_time_ns() - start_ns) / 1e3 / queries)
    return {f"us_{name}": round(us, 2) for name, us in least.items()}


if __name__ == "__main__":
    main()
