"""milvus-lite behind FastAPI: it has no HTTP of its own, and is embedded like this by those who use it.

It searches exactly. The IVF_FLAT of its 2.5 found 80 % of the neighbours of these vectors whatever the nprobe, and its
3.2, which knows HNSW, took 0.4 s for a search of 100,000 vectors, whatever the index: install.sh takes the former.
"""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec
import numpy as np
import uvicorn
from fastapi import FastAPI, Request
from pymilvus import DataType, MilvusClient
from starlette.responses import Response


class MilvusQuery(msgspec.Struct):
    vector: list[float]
    effort: int  # exact search has none
    k: int = 10


def main(folder: Path, port: int) -> None:
    file = folder / "milvus.db"
    filled = folder / "milvus.filled"
    if not filled.exists():
        file.unlink(missing_ok=True)
    client = MilvusClient(str(file))
    if not filled.exists():
        vectors = np.load(folder / "vectors.npy")
        schema = client.create_schema(auto_id=False)
        schema.add_field("row", DataType.INT64, is_primary=True)
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=vectors.shape[1])
        client.create_collection("bench", schema=schema)
        for start in range(0, len(vectors), 1000):
            part = vectors[start : start + 1000]
            client.insert("bench", [{"row": start + at, "vector": vector} for at, vector in enumerate(part)])
        # After the rows: an index that is there already is worked on with every insertion.
        index = client.prepare_index_params()
        index.add_index("vector", index_type="FLAT", metric_type="COSINE")
        client.create_index("bench", index)
        filled.touch()
    client.load_collection("bench")
    decode = msgspec.json.Decoder(MilvusQuery).decode
    app = FastAPI(openapi_url=None)

    @app.post("/search")
    async def search(request: Request) -> Response:
        query = decode(await request.body())
        [found] = client.search("bench", [query.vector], limit=query.k, output_fields=["row"])
        hits = [{"id": f"s{hit['row']:06}", "score": hit["distance"], "payload": {"row": hit["row"]}} for hit in found]
        return Response(msgspec.json.encode({"hits": hits}), media_type="application/json")

    print("ready", flush=True)
    uvicorn.run(app, port=port, loop="uvloop", http="httptools", access_log=False, log_level="warning")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
