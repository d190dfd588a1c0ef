"""ann-benchmarks and VIBE, in a checkout of each, by their own runners: the recall of perwatt and of hnswlib.

perwatt's module and configuration are read where they lie, in `service/judges`. hnswlib's are the benchmark's own, of
which the one graph of 16 links a row is run.
"""

from __future__ import annotations

import csv
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

import service.judges
from deploy.judges.vectors import JudgedVectors, K, write_hdf5

OURS = Path(service.judges.__file__).parent
LINKS = 16
ATTEMPTS = 20
# ann-benchmarks runs and reports on the data sets of its own list only, whose files it makes or downloads.
LISTED = """
import runpy, sys
from ann_benchmarks.datasets import DATASETS
DATASETS[sys.argv.pop(1)] = None
sys.argv.pop(0)
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def by_ann_benchmarks(checkout: Path, vectors: JudgedVectors, work: Path) -> list[dict[str, Any]]:
    """A row for each engine and effort: its recall, as ann-benchmarks works it out."""
    data = f"judged-{vectors.rows.shape[1]}-angular"
    write_hdf5(checkout / "data" / f"{data}.hdf5", vectors, "angular")
    theirs = _definitions(checkout / "ann_benchmarks" / "algorithms", work / "ann-benchmarks")
    script = ["-c", LISTED, data]
    results = checkout / "results" / data
    shutil.rmtree(results, ignore_errors=True)
    for engine, definitions in (("perwatt", OURS), ("hnswlib", theirs)):
        for _ in range(ATTEMPTS):  # its worker ends at once where it looks at its queue before anything is in it
            _run(
                checkout, *script, "run.py", "--local", "--runs", "1", "--count", str(K), "--dataset", data,
                "--definitions", str(definitions), "--algorithm", engine,
            )  # fmt: skip
            if any((results / str(K) / engine).glob("*.hdf5")):
                break
    out = work / "ann-benchmarks.csv"
    _run(checkout, *script, "data_export.py", "--recompute", "--output", str(out))
    with out.open(encoding="utf-8", newline="") as file:
        found = [each for each in csv.DictReader(file) if each["dataset"] == data]
    return _rows((each["algorithm"], each["parameters"], float(each["k-nn"])) for each in found)


def by_vibe(checkout: Path, vectors: JudgedVectors, work: Path) -> list[dict[str, Any]]:
    """A row for each engine and effort: its recall, as VIBE works it out."""
    import pyarrow.parquet as pq

    data = f"judged-{vectors.rows.shape[1]}-normalized"
    write_hdf5(checkout / "data" / f"{data}.hdf5", vectors, "normalized")
    theirs = _definitions(checkout / "vibe" / "algorithms", work / "vibe")
    for engine, definitions in (("perwatt", OURS), ("hnswlib", theirs)):
        _run(
            checkout, "run.py", "--local", "--runs", "1", "--force", "--count", str(K), "--dataset", data,
            "--definitions", str(definitions), "--algorithm", engine,
        )  # fmt: skip
    _run(checkout, "export_results.py", "--skip-pca-mahalanobis", "--output", str(work / "vibe-results"))
    found = pq.read_table(work / "vibe-results" / "summary.parquet").to_pylist()
    found = [each for each in found if each["dataset"] == data]
    return _rows((each["algorithm"], each["params"].split("|")[0], each["recall"]) for each in found)


def _definitions(algorithms: Path, out: Path) -> Path:
    """A folder with hnswlib's configuration alone, of one graph."""
    asked = yaml.safe_load((algorithms / "hnswlib" / "config.yml").read_text("utf-8"))
    [algorithm] = asked["float"]["any"]
    groups = algorithm["run_groups"]
    if f"M-{LINKS}" in groups:
        algorithm["run_groups"] = {"one": groups[f"M-{LINKS}"]}
    else:
        groups["base"]["args"]["M"] = [LINKS]
    (out / "hnswlib").mkdir(parents=True, exist_ok=True)
    (out / "hnswlib" / "config.yml").write_text(yaml.safe_dump(asked), "utf-8")
    return out


def _rows(found: Any) -> list[dict[str, Any]]:
    """perwatt first, then by effort, which is the last number in the name of a run."""
    rows = [
        {"engine": engine, "effort": int(re.findall(r"\d+", name)[-1]), "recall": round(float(recall), 5)}
        for engine, name, recall in found
    ]
    return sorted(rows, key=lambda row: (row["engine"] != "perwatt", row["effort"]))


def _run(checkout: Path, *words: str) -> None:
    """One of its scripts, by this Python, which is also the first `python3` that the script finds."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    subprocess.run([sys.executable, *words], cwd=checkout, check=True, env={**os.environ, "PATH": path})


def commit_of(checkout: Path) -> str:
    words: Sequence[str] = ["git", "-C", str(checkout), "rev-parse", "HEAD"]
    return subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
