"""A service to load, and the arguments that load it."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np

CORPUS = [f"doc-{i}" for i in range(50)]


def service(method: str, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, Any]:
    """A service whose recall grows with the effort: below 64 it loses the last neighbour of every second query."""
    if path == "/version":
        return 200, {"perwatt": "1", "kernels": {"isa": "avx2"}}
    if method == "GET":
        about = {"generation": "docs-1", "count": 50, "dim": 8, "metric": "cosine", "model": {"id": "sha256:0"}}
        if path == "/v1/indexes":
            return 200, {"indexes": [{"alias": "docs"}]}
        return (200, about) if path == "/v1/indexes/docs" else problem(404, "index-not-found")
    if path == "/v1/embeddings":
        texts = json.loads(body)["input"]
        return 200, {"data": [{"embedding": [float(text.split()[-1])] * 8} for text in texts]}
    if "/indexes/docs/" not in path:
        return problem(404, "index-not-found")
    asked = json.loads(body)
    params = asked.get("params", {})
    if "filter" in asked and asked["filter"].get("field") == "secret":
        return problem(400, "filter-field-not-indexed")
    if "vector" in asked:
        number = int(np.frombuffer(base64.b64decode(asked["vector"]), "<f4")[0])
    else:
        number = int(asked["text"].split()[-1])
    ids = [CORPUS[(number + j) % 50] for j in range(asked["k"])]
    if not params.get("exact") and params.get("effort", 8) < 64 and number % 2:
        ids[-1] = "wrong"
    hits = [{"id": id_, "score": 1 - j / 100 - (0.5 if id_ == "wrong" else 0)} for j, id_ in enumerate(ids)]
    return 200, {"hits": hits, "generation": "docs-1", "model": "sha256:0", "took_ms": 0.1}


def problem(status: int, code: str) -> tuple[int, Any]:
    return status, {"code": code, "detail": "There is none.", "status": status}


def arguments(url: str, queries: Path, out: Path, *more: str) -> list[str]:
    return ["--url", url, "--index", "docs", "--queries", str(queries), "--out", str(out), "--slo-p99-ms", "20000",
            "--timeout", "30", "--warmup", "0.5", "-k", "5", "--allow-interference", *more]  # fmt: skip
