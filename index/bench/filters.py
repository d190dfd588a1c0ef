"""Where comparing all survivors of a filter and searching the structure through it cost the same; what bitmaps cost.

    python -m index.bench.filters [GENERATION]      without one: over the WordNet embeddings of $PERWATT_DATA

For each number of survivors, chosen by chance, one query at a time, one thread: microseconds of both ways and the
search's recall@10. Where they cross is what WORTH of index/search/finding.py says. Bitmaps are timed over a million
rows.
"""

from __future__ import annotations

import functools
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from embed.vectors.npy import NpyVectors
from index import Generation, build_generation, kernels, open_generation
from index.search import finding
from index.search.bitmap import Bitmap, Kept
from index.search.fields.columns import TYPES
from index.search.fields.postings import COLUMNS_FILE, open_columns, write_postings
from index.search.filtering import Filters, parse

K, QUERIES, ROUNDS = 10, 200, 3
SURVIVORS = (1000, 2000, 4000, 8000, 12000, 16000, 32000, 64000)
ROWS = 1_000_000


def main() -> None:
    print(f"{kernels.info()['isa']} kernels, best of {ROUNDS} interleaved rounds")
    if len(sys.argv) > 1:
        with open_generation(sys.argv[1], verify=False) as generation:
            rows = np.random.default_rng(1).choice(generation.count, QUERIES)
            crossings(generation, _away(np.stack([generation.vector(int(row)) for row in rows])))
    else:
        vectors = NpyVectors(Path(os.environ["PERWATT_DATA"]) / "wordnet_minilm_f16.npy").rows()
        queries = np.ascontiguousarray(vectors[-2000:][:QUERIES])
        for family, count in (("graph", 25_000), ("graph", 100_000), ("ivf", 100_000)):
            with tempfile.TemporaryDirectory() as folder:
                path = build_generation(
                    vectors[:count], list(range(count)), root=folder, name="bench", family=family, switch=False
                )
                with open_generation(path) as generation:
                    crossings(generation, queries)
    bitmaps()


def crossings(generation: Generation, queries: Any) -> None:
    """At the effort of recall 0.95 on rows held out, and at the default one, which does for questions too."""
    for effort in sorted({generation.effort_for(0.95), generation.default_effort}):
        crossing(generation, queries, effort)


def crossing(generation: Generation, queries: Any, effort: int) -> None:
    count, random = generation.count, np.random.default_rng(0)
    print(f"\n{generation.family}, {count:,} × {generation.dim}, effort {effort}")
    print(f"survivors   scan µs   search µs   recall@{K} of the search")
    find = finding.find
    for survivors in (each for each in SURVIVORS if each < count):
        keep = np.zeros(count, np.bool_)
        keep[random.choice(count, survivors, replace=False)] = True
        bitmap = Bitmap(keep, count)
        took: dict[str, float] = {"scan": 1e9, "search": 1e9}
        found: dict[str, list[Any]] = {}
        some = queries[: max(10, min(len(queries), survivors * len(queries) // 16_000))]
        for _ in range(ROUNDS):
            for way, plan in (("scan", finding.SCAN), ("search", finding.WALK)):
                start = time.perf_counter()
                found[way] = [
                    find(generation._rows, generation._searcher, query[None], K, effort, keep=bitmap, plan=plan)
                    for query in some
                ]
                took[way] = min(took[way], (time.perf_counter() - start) / len(some))
        hits = [(w.scores[0] >= s.scores[0][-1]).sum() for w, s in zip(found["search"], found["scan"], strict=True)]
        print(f"{survivors:9,} {took['scan'] * 1e6:9.0f} {took['search'] * 1e6:11.0f}   {np.mean(hits) / K:.4f}")


def _away(vectors: Any) -> Any:
    """Queries that differ from every row: half of another row is mixed in."""
    mixed = vectors + 0.5 * np.roll(vectors, 1, axis=0)
    return np.ascontiguousarray(mixed / np.linalg.norm(mixed, axis=1, keepdims=True), np.float32)


def bitmaps() -> None:
    random = np.random.default_rng(0)
    words = pa.array([f"w{place:05}" for place in range(10_000)], pa.large_string())
    rare = random.integers(1, 10_000, ROWS)
    columns = {
        "kind": pa.DictionaryArray.from_arrays(
            pa.array(np.where(random.random(ROWS) < 0.5, 0, rare), pa.int32()), words
        ),
        "year": pa.array(random.integers(1990, 2030, ROWS)),
    }
    with tempfile.TemporaryDirectory() as name:
        folder, table = Path(name), pa.table(columns)
        with pa.OSFile(str(folder / COLUMNS_FILE), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table)
        write_postings(folder, table)
        fields = {"kind": "keyword", "year": "int"}
        assert set(fields.values()) <= set(TYPES)
        filters = Filters(open_columns(folder, fields, ROWS), ROWS)
        print(f"\nbitmaps over {ROWS:,} rows                                       survivors        µs")
        for asked in (
            {"field": "kind", "eq": "w00777"},
            {"field": "kind", "eq": "w00000"},
            {"field": "kind", "in": [f"w{place:05}" for place in range(1, 200)]},
            {"field": "year", "eq": 2001},
            {"field": "year", "gte": 2010},
            {"and": [{"field": "year", "gte": 2010}, {"field": "kind", "eq": "w00777"}]},
        ):
            parsed = parse(asked)
            took, count = _least(functools.partial(_fresh, filters, parsed)), filters.bitmap(parsed).count
            print(f"{str(asked)[:60]:<62} {count:9,} {took:9.0f}")
        print(f"{'the same again':<62} {'':9} {_least(lambda: filters.bitmap(parsed)):9.1f}")


def _fresh(filters: Filters, asked: Any) -> None:
    filters.kept = Kept(0)
    filters.bitmap(asked)


def _least(work: Callable[[], Any]) -> float:
    """Microseconds of the quickest of 20."""
    best = 1e9
    for _ in range(20):
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
    return best * 1e6


if __name__ == "__main__":
    main()
