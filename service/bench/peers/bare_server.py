"""The floor: FastAPI with uvloop, httptools and msgspec, a vector decoded and a constant answer given. No search."""

from __future__ import annotations

import sys

import msgspec
from fastapi import FastAPI, Request
from starlette.responses import Response


class BareQuery(msgspec.Struct):
    vector: list[float]
    k: int = 10


def bare() -> FastAPI:
    decode = msgspec.json.Decoder(BareQuery).decode
    hits = [{"id": str(number), "score": 0.5, "payload": {"row": number}} for number in range(10)]
    app = FastAPI(openapi_url=None)

    @app.post("/search")
    async def search(request: Request) -> Response:
        decode(await request.body())
        return Response(msgspec.json.encode({"hits": hits}), media_type="application/json")

    return app


def main(_folder: str, port: int) -> None:
    import uvicorn

    print("ready", flush=True)
    uvicorn.run(bare(), port=port, loop="uvloop", http="httptools", access_log=False, log_level="warning")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
