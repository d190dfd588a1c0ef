"""A plain FastAPI search that knows nothing of perwatt, to be loaded through a request template.

`python http_target.py FOLDER PORT` searches vectors.npy of FOLDER (float32, unit length), whose ids are in ids.txt. The
less effort is asked for, the fewer of its rows it looks at, a fixed share of them: 64 is all.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from fastapi import FastAPI, HTTPException, Request
from numpy.typing import NDArray

TEMPLATE = """
engine = "A search of somebody's"
effort = "beam"
[search]
path = "/collections/{index}/query"
headers = { X-Key = "{env.SOMEBODYS_KEY}" }
body = '{"text": "{text}", "vector": "{vector}", "top": "{k}", "where": {"parity": "{filter}"}, "beam": "{effort}"}'
ids = "found[*].doc"
scores = "found[*].similarity"
took_ms = "ms"
[version]
path = "/"
select = "version"
[settings]
path = "/collections/{index}"
[count]
path = "/collections/{index}"
select = "rows"
"""
EXACT = """
[exact]
body = '{"vector": "{vector}", "top": "{k}", "where": {"parity": "{filter}"}, "beam": 64}'
"""


def corpus(rows: int, dim: int = 8) -> NDArray[np.float32]:
    """Unit vectors."""
    vectors = np.random.default_rng(11).standard_normal((rows, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def write_corpus(folder: Path, rows: int) -> NDArray[np.float32]:
    """Files of vectors and ids; returns the vectors."""
    vectors = corpus(rows)
    np.save(folder / "vectors.npy", vectors)
    (folder / "ids.txt").write_text("".join(f"doc/{row}\n" for row in range(rows)))
    return vectors


def application(folder: Path) -> FastAPI:
    vectors = np.load(folder / "vectors.npy")
    ids = (folder / "ids.txt").read_text().split()
    rank = np.random.default_rng(1).permutation(len(ids)) / len(ids)  # a row is looked at from this share on
    app = FastAPI()

    @app.get("/")
    async def root() -> dict[str, str]:
        return {"name": "somebody's", "version": "3.1"}

    @app.get("/collections/docs")
    async def about() -> dict[str, int]:
        return {"rows": len(ids), "graph_degree": 16}

    @app.post("/collections/docs/query")
    async def query(asked: dict[str, Any], request: Request) -> dict[str, Any]:
        if request.headers.get("x-key") != "sesame":
            raise HTTPException(401, "no key")
        scores = vectors @ np.asarray(asked["vector"], np.float32)
        scores[rank >= asked.get("beam", 8) / 64] = -2
        if "where" in asked:
            scores[np.arange(len(ids)) % 2 != asked["where"]["parity"]["eq"]] = -2
        best = np.argsort(-scores, kind="stable")[: asked["top"]]
        return {"found": [{"doc": ids[row], "similarity": float(scores[row])} for row in best], "ms": 0.1}

    return app


if __name__ == "__main__":
    import uvicorn

    uvicorn.run(application(Path(sys.argv[1])), port=int(sys.argv[2]), log_level="warning")
