"""LanceDB behind FastAPI, in the way its documentation embeds it: an IVF index with scalar-quantised HNSW parts.

ef comes with the query as `effort`. Nothing is rescored (refine_factor): at a recall of 0.95 a higher ef is cheaper.
"""

from __future__ import annotations

import sys
from pathlib import Path

import lancedb
import msgspec
import numpy as np
import pyarrow as pa
import uvicorn
from fastapi import FastAPI, Request
from starlette.responses import Response


class LanceQuery(msgspec.Struct):
    vector: list[float]
    effort: int
    k: int = 10


def main(folder: Path, port: int) -> None:
    base = lancedb.connect(folder / "lancedb")
    filled = folder / "lancedb.filled"
    if filled.exists():
        table = base.open_table("bench")
    else:
        vectors = np.load(folder / "vectors.npy")
        ids = (folder / "ids.txt").read_text().split()
        column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), vectors.shape[1])
        table = base.create_table(
            "bench", pa.table({"id": ids, "row": list(range(len(ids))), "vector": column}), mode="overwrite"
        )
        table.create_index(metric="cosine", vector_column_name="vector", index_type="IVF_HNSW_SQ", num_partitions=1)
        filled.touch()
    decode = msgspec.json.Decoder(LanceQuery).decode
    app = FastAPI(openapi_url=None)

    @app.post("/search")
    async def search(request: Request) -> Response:
        query = decode(await request.body())
        found = (
            table.search(query.vector)
            .distance_type("cosine")
            .nprobes(1)
            .ef(query.effort)
            .limit(query.k)
            .select(["id", "row", "_distance"])
            .to_arrow()
            .to_pylist()
        )
        hits = [{"id": hit["id"], "score": 1 - hit["_distance"], "payload": {"row": hit["row"]}} for hit in found]
        return Response(msgspec.json.encode({"hits": hits}), media_type="application/json")

    print("ready", flush=True)
    uvicorn.run(app, port=port, loop="uvloop", http="httptools", access_log=False, log_level="warning")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
