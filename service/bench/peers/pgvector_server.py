"""pgvector behind FastAPI: PostgreSQL with an HNSW index, asked over one connection by a prepared statement.

The PostgreSQL is that of the package `pgserver`, which brings pgvector; it refuses to run as root, and then runs as
nobody.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import numpy as np
import pgserver
import psycopg
import uvicorn
from fastapi import FastAPI, Request
from pgvector.psycopg import register_vector
from starlette.responses import Response

BIN = Path(pgserver.__file__).parent / "pginstall" / "bin"
NOBODY = 65534
SETTINGS = ("listen_addresses=", "shared_buffers=1GB", "maintenance_work_mem=1GB", "max_wal_size=4GB", "jit=off")


class PgQuery(msgspec.Struct):
    vector: list[float]
    effort: int
    k: int = 10


def main(folder: Path, port: int) -> None:
    place = folder.absolute() / "pgvector"
    user = NOBODY if os.geteuid() == 0 else None
    if not (place / "filled").exists():
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        if user is not None:
            os.chown(place, user, -1)
        initdb = [str(BIN / "initdb"), "--auth=trust", "--username=postgres", "--encoding=UTF8", str(place / "data")]
        subprocess.run(initdb, check=True, user=user, stdout=subprocess.DEVNULL)
    options = [word for setting in SETTINGS for word in ("-c", setting)]
    command = [str(BIN / "postgres"), "-D", str(place / "data"), "-k", str(place), *options]
    database = subprocess.Popen(command, user=user, stdout=subprocess.DEVNULL)
    try:
        connection = connected(place)
        if not (place / "filled").exists():
            fill(connection, folder)
            (place / "filled").touch()
        serve(connection, port)
    finally:
        database.terminate()
        database.wait()


def connected(place: Path) -> psycopg.Connection:
    limit_s = time.monotonic() + 60
    while True:
        try:
            connection = psycopg.connect(f"host={place} user=postgres dbname=postgres", autocommit=True)
            break
        except psycopg.OperationalError:
            if time.monotonic() > limit_s:
                raise
            time.sleep(0.2)
    connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
    register_vector(connection)
    return connection


def fill(connection: psycopg.Connection, folder: Path) -> None:
    vectors = np.load(folder / "vectors.npy")
    ids = (folder / "ids.txt").read_text().split()
    connection.execute(f"CREATE TABLE bench (id text, row int, vector vector({vectors.shape[1]}))")
    with connection.cursor().copy("COPY bench FROM STDIN WITH (FORMAT BINARY)") as copy:
        copy.set_types(["text", "int4", "vector"])
        for row, (id_, vector) in enumerate(zip(ids, vectors, strict=True)):
            copy.write_row((id_, row, vector))
    connection.execute("CREATE INDEX ON bench USING hnsw (vector vector_ip_ops) WITH (m = 16, ef_construction = 100)")
    connection.execute("ANALYZE bench")


def serve(connection: psycopg.Connection, port: int) -> None:
    decode = msgspec.json.Decoder(PgQuery).decode
    app = FastAPI(openapi_url=None)
    cursor = connection.cursor(binary=True)
    set_to = 0

    @app.post("/search")
    async def search(request: Request) -> Response:
        nonlocal set_to
        query = decode(await request.body())
        if query.effort != set_to:
            cursor.execute(f"SET hnsw.ef_search = {query.effort:d}")
            set_to = query.effort
        vector = np.array(query.vector, np.float32)
        cursor.execute(
            "SELECT id, row, vector <#> %s AS distance FROM bench ORDER BY distance LIMIT %s",
            (vector, query.k),
            prepare=True,
        )
        hits = [{"id": id_, "score": -distance, "payload": {"row": row}} for id_, row, distance in cursor.fetchall()]
        return Response(msgspec.json.encode({"hits": hits}), media_type="application/json")

    [[version]] = connection.execute("SELECT extversion FROM pg_extension WHERE extname = 'vector'").fetchall()
    print(f"ready PostgreSQL {connection.info.server_version // 10_000} with pgvector {version}", flush=True)
    uvicorn.run(app, port=port, loop="uvloop", http="httptools", access_log=False, log_level="warning")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
