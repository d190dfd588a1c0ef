"""vector-db-benchmark and VectorDBBench, by their own commands: perwatt's server beside PostgreSQL with pgvector in the
one, and beside LanceDB in the other."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deploy.judges.vectors import JudgedVectors, K, write_filtered, write_hdf5, write_parquet
from loadtest.bench.postgres import PROGRAMS, postgres
from loadtest.experiment.hosted import hosted

EFFORTS = (None, 100, 200)  # of perwatt; None is the one that the index chose
SEARCHED = (64, 128, 256)  # hnsw.ef_search of pgvector, those of the benchmark's own configurations
PLAIN, FILTERED = "judged", "judged-filtered"
FIELDS = ("id:int", "label:keyword", "kind:keyword", "year:int")


def served(vectors: JudgedVectors) -> Any:
    """A server with an empty index for them; a context with its `url`."""
    words = [sys.executable, "-m", "service.judges.served", str(vectors.rows.shape[1]), "cosine", *FIELDS]
    return hosted(f"{shlex.join(words)} --port {{port}}")


def by_vector_db_benchmark(checkout: Path, vectors: JudgedVectors) -> dict[str, list[dict[str, Any]]]:
    """`rows`, and with a condition in every query `filtered`: what the benchmark calls precision, the share of the
    true neighbours that was found."""
    write_hdf5(checkout / "datasets" / "judged.hdf5", vectors, "cosine")
    schema = write_filtered(checkout / "datasets" / FILTERED, vectors)
    common = {"vector_size": vectors.rows.shape[1], "distance": "cosine"}
    sets = [
        {"name": PLAIN, "type": "h5", "path": "judged.hdf5", **common},
        {"name": FILTERED, "type": "tar", "path": FILTERED, "schema": schema, **common},
    ]
    (checkout / "datasets" / "datasets.json").write_text(json.dumps(sets), "utf-8")
    programs = Path(_site_packages("pgserver")) / PROGRAMS
    with served(vectors) as server, postgres(programs) as dsn:
        port = int(dsn.rsplit(":", 1)[1].split("/")[0])
        engines = [
            {
                "name": "judged-perwatt",
                "engine": "perwatt",
                "connection_params": {"url": server.url},
                "upload_params": {"parallel": 1, "batch_size": 200},
                "search_params": [{"parallel": 1, "top": K, "config": {"effort": effort}} for effort in EFFORTS],
            },
            {
                "name": "judged-pgvector",
                "engine": "pgvector",
                "connection_params": {"host": "127.0.0.1", "port": port},
                "upload_params": {"parallel": 1, "batch_size": 1024, "hnsw_config": {"m": 16, "ef_construct": 128}},
                "search_params": [{"parallel": 1, "top": K, "config": {"hnsw_ef": ef}} for ef in SEARCHED],
            },
        ]
        (checkout / "experiments" / "configurations" / "judged.json").write_text(json.dumps(engines), "utf-8")
        for old in (checkout / "results").glob("judged-*.json"):
            old.unlink()
        _in(checkout, "service.judges.vector_db_benchmark", "--engines", "judged-*", "--datasets", PLAIN)
        # Its client of pgvector leaves conditions out.
        _in(checkout, "service.judges.vector_db_benchmark", "--engines", "judged-perwatt", "--datasets", FILTERED)
    found: dict[str, list[dict[str, Any]]] = {"rows": [], "filtered": []}
    for path in sorted((checkout / "results").glob("judged-*-search-*.json")):
        result = json.loads(path.read_text("utf-8"))
        params, config = result["params"], result["params"].get("config", {})
        row = {
            "engine": params["engine"],
            "effort": config.get("hnsw_ef", config.get("effort")),
            "recall": round(result["results"]["mean_precisions"], 5),
        }
        found["filtered" if params["dataset"] == FILTERED else "rows"].append(row)
    return {name: _sorted(rows) for name, rows in found.items()}


def by_vectordb_bench(vectors: JudgedVectors, work: Path) -> list[dict[str, Any]]:
    """Rows with recall and nDCG of its searches one by one; those by many at once measure speed and are left out."""
    count, dim = vectors.rows.shape
    write_parquet(work / "datasets" / PLAIN / "vectors", vectors)
    results = work / "results"
    env = {"DATASET_LOCAL_DIR": str(work / "datasets"), "RESULTS_LOCAL_DIR": str(results), "NUM_PER_BATCH": "500"}
    case = [
        "--case-type", "PerformanceCustomDataset", "--custom-case-name", PLAIN, "--custom-dataset-name", PLAIN,
        "--custom-dataset-dir", "vectors", "--custom-dataset-size", str(count), "--custom-dataset-dim", str(dim),
        "--custom-dataset-file-count", "1", "--custom-dataset-metric-type", "COSINE", "--k", str(K),
        "--skip-search-concurrent",
    ]  # fmt: skip
    with served(vectors) as server:
        for effort in EFFORTS:
            asked = [] if effort is None else ["--effort", str(effort)]
            label = ["--db-label", f"effort {effort or ''}".strip()]
            _in(work, "service.judges.vectordb_bench", "perwatt", "--url", server.url, *asked, *label, *case, **env)
    theirs = "vectordb_bench.cli.vectordbbench"
    for name, command in (("IVF_HNSW_SQ", "lancedbivfhnswsq"), ("none, exact", "lancedb")):
        _in(work, theirs, command, "--uri", str(work / command), "--db-label", name, *case, **env)
    rows = []
    for path in sorted(results.glob("*/result_*.json")):
        for case_ in json.loads(path.read_text("utf-8"))["results"]:
            config, metrics = case_["task_config"], case_["metrics"]
            row = {"engine": config["db"], "setting": config["db_config"]["db_label"]}
            rows.append(row | {"recall": metrics["recall"], "ndcg": metrics["ndcg"], "label": case_["label"]})
    return sorted(rows, key=lambda row: (row["engine"] != "perwatt", row["setting"]))


def _sorted(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(rows, key=lambda row: (row["engine"] != "perwatt", row["effort"] or 0))


def _in(folder: Path, module: str, *words: str, **env: str) -> None:
    command: Sequence[str] = [sys.executable, "-m", module, *words]
    subprocess.run(command, cwd=folder, check=True, env={**os.environ, **env})


def _site_packages(package: str) -> str:
    from importlib.util import find_spec

    found = find_spec(package)
    if found is None or found.submodule_search_locations is None:
        raise SystemExit(f"{package} is not installed; it brings the PostgreSQL that is measured beside perwatt.")
    return str(Path(found.submodule_search_locations[0]).parent)
