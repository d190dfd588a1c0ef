"""Building and exact search: seconds, memory, and queries a second beside FAISS and NumPy on the same vectors.

Vectors are real text embeddings: the standard library's docstrings as `make run` embedded them, or any folder of
vectors. To reach 250,000 rows each further row is the unit-length mean of two of them drawn by a seeded generator,
which keeps the distribution that text has (many near neighbours, none equal) where uniform random numbers would not.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from index.disk.codes import quantise

Float = npt.NDArray[np.float32]

ROWS = 250_000
SCAN_ROWS = 100_000
QUERIES = 200
ROUNDS = 5
SEED = 20261123
_ROWS_AT_ONCE = 1 << 16

BUILD = """
import json, pathlib, sys
import numpy as np
from index import build_generation, open_generation
vectors = np.load(sys.argv[1], mmap_mode="r")
path = build_generation(vectors, np.arange(len(vectors)), root=sys.argv[2], name="bench", family="graph")
generation = open_generation(path)
print(json.dumps(generation.manifest))
"""


# A tenth of the rows new, replaced or deleted, then built from them twice: from the graph before, and from nothing.
CHANGED = """
import json, sys
import numpy as np
from index import Root, build_generation, open_generation
from index.changes.log import Log
from index.changes.log_file import Write
from index.changes.rebuild import folded_from_served
vectors, root, count = np.load(sys.argv[1], mmap_mode="r"), sys.argv[2], int(sys.argv[3])
place, changed, found = Root(root), (len(vectors) - count) // 2, {}
ids = [f"r{row}" for row in range(count)]
build_generation(vectors[:count], ids, root=root, name="bench", family="graph")
with Log(place.folder / "bench", vectors.shape[1], None) as log:
    put = [f"n{row}" for row in range(changed)] + ids[:changed]
    for start in range(0, len(put), 1000):
        some = zip(put[start : start + 1000], vectors[count + start :])
        log.append([Write(id_, vector.astype("<f4").tobytes(), b"{}") for id_, vector in some])
    log.append([Write(id_, None) for id_ in ids[changed : 2 * changed]])
for way in ("grown", "anew"):
    with folded_from_served(place, "bench", 2) as (source, kept):
        path = build_generation(
            source, root=root, name="bench", family="graph", anew=way == "anew", switch=False, **kept
        )
    with open_generation(path) as generation:
        queries = vectors[:1000].astype(np.float32)
        truth = generation.search_rows(queries, 10, exact=True).scores
        scores = generation.search_rows(queries, 10, 100).scores
        found[way] = {
            "cpu_s": generation.manifest["build"]["cpu_seconds"],
            "recall_at_effort_100": float((scores >= truth[:, -1:]).mean()),
        }
print(json.dumps(found))
"""


def measure(folder: Path) -> dict[str, Any]:
    """folder: a vectors folder. Figures with the unit in their name."""
    real = real_vectors(folder)
    rows = grown(real, ROWS + QUERIES)
    vectors, queries = rows[:ROWS], rows[ROWS:]
    return {
        "real_rows": len(real),
        "dim": real.shape[1],
        "build": build(vectors),
        "from_changes": from_changes(vectors[: SCAN_ROWS + SCAN_ROWS // 15], SCAN_ROWS),
        "scan": scan(vectors[:SCAN_ROWS], queries),
    }


def real_vectors(folder: Path) -> Float:
    from index import VectorsFolder

    return np.concatenate([batch.vectors for batch in VectorsFolder(folder).batches()])


def grown(real: Float, rows: int) -> Float:
    """float32 (rows, dim), of length 1, in an order of their own: the real ones, and as many mixed of two as are
    missing."""
    everything, start = np.empty((rows, real.shape[1]), np.float32), 0
    for part in grown_parts(real, rows):
        everything[start : start + len(part)] = part
        start += len(part)
    return everything


def grown_parts(real: Float, rows: int) -> Iterator[Float]:
    """The same, some rows after the others, for more than fit into memory."""
    generator = np.random.default_rng(SEED)
    pairs = generator.integers(0, len(real), (max(0, rows - len(real)), 2))
    share = generator.uniform(0.5, 0.9, (len(pairs), 1)).astype(np.float32)
    order = generator.permutation(rows)
    for start in range(0, rows, _ROWS_AT_ONCE):  # so many that a million take little more than themselves
        which = order[start : start + _ROWS_AT_ONCE]
        part = np.empty((len(which), real.shape[1]), np.float32)
        mixed = which >= len(real)
        part[~mixed] = real[which[~mixed]]
        of = which[mixed] - len(real)
        part[mixed] = share[of] * real[pairs[of, 0]] + (1 - share[of]) * real[pairs[of, 1]]
        part /= np.linalg.norm(part, axis=1, keepdims=True)
        yield part


def build(vectors: Float) -> dict[str, Any]:
    """Built in a process of its own, whose peak memory is the build's."""
    with tempfile.TemporaryDirectory() as scratch:
        np.save(f"{scratch}/vectors.npy", vectors)
        ran = subprocess.run(
            [sys.executable, "-c", BUILD, f"{scratch}/vectors.npy", f"{scratch}/indexes"],
            check=True, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
    manifest = json.loads(ran.stdout)
    record = manifest["build"]
    return {
        "rows": len(vectors),
        "threads": record["threads"],
        "seconds": round(record["seconds"], 1),
        "peak_rss_mib": round(record["peak_memory_bytes"] / 2**20),
        "recall": round(manifest["recall"]["recall"], 4),
    }


def from_changes(vectors: Float, rows: int) -> dict[str, Any]:
    """vectors: those of `rows` rows, and of the documents that are put: half of them new, half in the place of others.
    As many rows as are new are deleted."""
    with tempfile.TemporaryDirectory() as scratch:
        np.save(f"{scratch}/vectors.npy", vectors)
        ran = subprocess.run(
            [sys.executable, "-c", CHANGED, f"{scratch}/vectors.npy", f"{scratch}/indexes", str(rows)],
            check=True, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
    figures: dict[str, Any] = json.loads(ran.stdout)
    return {"rows": rows, "changed": (len(vectors) - rows) // 2 * 3} | figures


def scan(vectors: Float, queries: Float) -> dict[str, Any]:
    """Exact top 10 on one thread, queries one at a time, as a service meets them."""
    import faiss
    from threadpoolctl import threadpool_limits

    from index.search import exact

    threadpool_limits(1, "blas")
    faiss.omp_set_num_threads(1)
    flat = faiss.IndexFlatIP(vectors.shape[1])
    flat.add(vectors)
    codes = quantise(vectors)

    def by_numpy(query: Float) -> Any:
        scores = vectors @ query[0]
        best = np.argpartition(scores, -10)[-10:]
        return best[np.argsort(-scores[best])]

    contenders: dict[str, Callable[[Float], Any]] = {
        "numpy": by_numpy,
        "faiss_flat": lambda query: flat.search(query, 10)[1][0],
        "perwatt_float32": lambda query: exact.search(query, vectors, 10).rows[0],
        "perwatt_int8_exact": lambda query: exact.search(query, vectors, 10, codes=codes).rows[0],
    }
    best = {name: float("inf") for name in contenders}
    for _ in range(ROUNDS):
        for name, search in contenders.items():
            started = time.perf_counter()
            for query in queries:
                search(query[None])
            best[name] = min(best[name], time.perf_counter() - started)
    agree = np.mean(
        [contenders["faiss_flat"](q[None])[0] == contenders["perwatt_int8_exact"](q[None])[0] for q in queries]
    )
    return {
        "rows": len(vectors),
        "queries_per_s": {name: round(len(queries) / seconds, 1) for name, seconds in best.items()},
        "first_hit_agrees_with_faiss": round(float(agree), 4),
    }
