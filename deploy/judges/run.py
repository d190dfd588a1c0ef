"""Every judge in turn, or those that are named, in the environment of `make test-integrations`:

    python -m deploy.judges.run SOURCES OUT.json [NAME …]

SOURCES is where fetch.sh put the checkouts. The collections of documents are those in $PERWATT_DATA.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from deploy.judges.libraries import by_ann_benchmarks, by_vibe, commit_of
from deploy.judges.servers import by_vector_db_benchmark, by_vectordb_bench
from deploy.judges.vectors import JudgedVectors, K, judged_vectors
from service.judges import run as retrieval


def judges(sources: Path, work: Path, vectors: JudgedVectors) -> dict[str, Callable[[], dict[str, Any]]]:
    ann, vibe, servers = (sources / name for name in ("ann-benchmarks", "vibe", "vector-db-benchmark"))
    return {
        "retrieval": lambda: {"collections": [retrieval.measure(each) for each in collections()]},
        "ann-benchmarks": lambda: {"version": commit_of(ann)[:7], "rows": by_ann_benchmarks(ann, vectors, work)},
        "vibe": lambda: {"version": commit_of(vibe)[:7], "rows": by_vibe(vibe, vectors, work)},
        "vector-db-benchmark": lambda: {"version": commit_of(servers)[:7], **by_vector_db_benchmark(servers, vectors)},
        "vectordb-bench": lambda: {"version": version("vectordb-bench"), "rows": by_vectordb_bench(vectors, work)},
    }


def collections() -> list[Path]:
    given = os.environ.get("PERWATT_DATA")
    found = sorted(path.parent for path in Path(given).glob("*/qrels.tsv")) if given else []
    if not found:
        raise SystemExit(
            f"No */qrels.tsv in $PERWATT_DATA ({given or 'not set'}); expected collections in BEIR's shape."
        )
    return found


def main(sources: Path, out: Path, names: list[str]) -> None:
    vectors = judged_vectors()
    figures: dict[str, Any] = {
        "vectors": {
            "name": vectors.name,
            "rows": len(vectors.rows),
            "dim": vectors.rows.shape[1],
            "queries": len(vectors.queries),
            "k": K,
        },
    }
    with tempfile.TemporaryDirectory(prefix="perwatt-judges-") as folder:
        for name, judge in judges(sources.resolve(), Path(folder), vectors).items():
            if not names or name in names:
                figures[name] = judge()
    out.write_text(json.dumps(figures, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
