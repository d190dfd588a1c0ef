"""Search quality on judged collections, from documents to nDCG@10, by the commands a user would type.

Every collection in $PERWATT_DATA in BEIR's shape is embedded in both precisions, built as an exact index and as a
graph, and evaluated: by meaning, by words and by both. The published figure is that of the model's authors' own stack
(MTEB), fp32 and exact.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

PUBLISHED = {"scifact": 0.64508, "xquad_en": 0.9436}
PRECISIONS = ("fp32", "int8")
FAMILIES = ("flat", "graph")


def measure() -> list[dict[str, Any]]:
    """One row a collection and precision: documents, queries, nDCG@10 by family and by mode, recall@100 exact."""
    given = os.environ.get("PERWATT_DATA")
    if not given:
        raise SystemExit("PERWATT_DATA is not set; expected a folder of collections in BEIR's shape, such as scifact/.")
    collections = sorted(path.parent for path in Path(given).glob("*/qrels.tsv"))
    if not collections:
        raise SystemExit(f"No */qrels.tsv in {given}; expected collections in BEIR's shape.")
    with tempfile.TemporaryDirectory() as scratch:
        return [row(each, precision, Path(scratch)) for each in collections for precision in PRECISIONS]


def without_originals(names: tuple[str, ...] = tuple(PUBLISHED)) -> list[dict[str, Any]]:
    """nDCG@10 of a graph with originals and without, of these collections in $PERWATT_DATA, in fp32."""
    found, data = [], Path(os.environ["PERWATT_DATA"])
    with tempfile.TemporaryDirectory() as scratch:
        for name in names:
            vectors, root = Path(scratch) / name, Path(scratch) / "indexes"
            perwatt("embed", data / name / "corpus.jsonl", "--out", vectors, "--precision", "fp32", "--quiet")
            figures: dict[str, Any] = {"collection": name}
            for originals in ("keep", "drop"):
                index = f"{name.replace('_', '-')}-{originals}"
                how = ("--family", "graph", "--originals", originals)
                perwatt("build", vectors, "--index", index, "--root", root, *how)
                judged = evaluated(index, root, data / name)["modes"]["dense"]
                figures[f"ndcg_10_{originals}"] = round(judged["ndcg@10"], 5)
            found.append(figures)
    return found


def evaluated(index: str, root: Path, collection: Path) -> dict[str, Any]:
    judgements = ("--queries", collection / "queries.jsonl", "--qrels", collection / "qrels.tsv")
    judged: dict[str, Any] = json.loads(perwatt("eval", index, "--root", root, "--json", *judgements))
    return judged


def row(collection: Path, precision: str, scratch: Path) -> dict[str, Any]:
    vectors, root = scratch / f"{collection.name}-{precision}", scratch / "indexes"
    perwatt("embed", collection / "corpus.jsonl", "--out", vectors, "--precision", precision, "--quiet")
    figures: dict[str, Any] = {"collection": collection.name, "precision": precision}
    for family in FAMILIES:
        name = f"{collection.name.replace('_', '-')}-{precision}-{family}"
        perwatt("build", vectors, "--index", name, "--root", root, "--family", family)
        judged = evaluated(name, root, collection)
        figures[f"ndcg_10_{family}"] = round(judged["modes"]["dense"]["ndcg@10"], 5)
        if family == "flat":
            for mode in ("lexical", "hybrid"):
                figures[f"ndcg_10_{mode}"] = round(judged["modes"][mode]["ndcg@10"], 5)
            figures["queries"] = judged["queries"]
            figures["recall_100"] = round(judged["recall@100"], 5)
    figures["published_ndcg_10"] = PUBLISHED.get(collection.name)
    return figures


def perwatt(*arguments: object) -> str:
    command = [sys.executable, "-m", "deploy.command", *map(str, arguments)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
