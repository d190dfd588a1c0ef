"""HTTP in front of PostgreSQL, so that SQL is loaded like any search: one request is one query over a connection of the
pool, as an application in front of the database would ask it.

What it takes is part of what is measured, as an application's share would be; `loadtest.targets.pgvector` says what it
is asked. The vector of a request is passed on as it came, because JSON writes it as pgvector does. Run as a module it
prints its port and ends with its standard input; the connection string comes from PERWATT_DSN, where no list of
processes shows its password.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
import sys
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import psycopg
import uvicorn
from psycopg import sql

OPERATORS = ("<=>", "<#>", "<->")
KNOBS = {"hnsw.ef_search": "hnsw", "ivfflat.probes": "ivfflat"}
SETTINGS = ("shared_buffers", "work_mem", "effective_cache_size", "max_parallel_workers_per_gather", "jit")


class BridgeQuery(msgspec.Struct):
    """`filter`: a condition in SQL; `exact`: without any index."""

    vector: msgspec.Raw
    k: int
    effort: int | None = None
    filter: str | None = None
    exact: bool = False


class SqlTable(msgspec.Struct, frozen=True):
    """What is searched: a table with a column of ids and one of vectors, nearness by an operator of pgvector's.

    `knob`: the setting that `effort` is a value of.
    """

    name: str
    id: str = "id"
    column: str = "embedding"
    operator: str = "<=>"
    knob: str = "hnsw.ef_search"

    def query(self, asked: BridgeQuery) -> sql.Composed:
        """The statement with one parameter, the vector. The number of hits stands in it, so that it is planned for."""
        where = sql.SQL("")
        if asked.filter is not None:
            where = sql.SQL(f" WHERE ({asked.filter.replace('%', '%%')})")  # the user's own
        return sql.SQL("SELECT {}::text, {} {} %s::vector AS distance FROM {}{} ORDER BY distance LIMIT {}").format(
            sql.Identifier(self.id), sql.Identifier(self.column), sql.SQL(self.operator),
            sql.Identifier(*self.name.split(".")), where, sql.Literal(asked.k),
        )  # fmt: skip


class Bridge:
    """An ASGI application that asks `table` over the connections of `pool`, one query at a time each."""

    def __init__(self, table: SqlTable, dsn: str, connections: int) -> None:
        self._table, self._dsn, self._connections = table, dsn, connections
        self._free: asyncio.Queue[psycopg.AsyncConnection[Any]] = asyncio.Queue()
        self._effort: dict[int, int | None] = {}
        self._decode = msgspec.json.Decoder(BridgeQuery).decode

    async def open(self) -> None:
        for _ in range(self._connections):
            connection = await psycopg.AsyncConnection.connect(self._dsn, autocommit=True, prepare_threshold=0)
            # Before pgvector is loaded, any effort would be taken, and forgotten when it is.
            await connection.execute("SELECT '[0]'::vector")
            self._effort[id(connection)] = None
            self._free.put_nowait(connection)

    async def __call__(self, scope: Any, receive: Callable[[], Awaitable[Any]], send: Any) -> None:
        body = b""
        while (message := await receive())["type"] == "http.request":
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        connection = await self._free.get()
        try:
            status, answer = 200, await self._answer(scope["path"], body, connection)
        except (msgspec.MsgspecError, psycopg.Error) as error:
            status, answer = 400, {"error": str(error)}
        finally:
            self._free.put_nowait(connection)
        data = msgspec.json.encode(answer)
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(data)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": data})

    async def _answer(self, path: str, body: bytes, connection: psycopg.AsyncConnection[Any]) -> Any:
        if path == "/search":
            return {"hits": await self._search(self._decode(body), connection)}
        if path == "/version":
            found = await connection.execute("SELECT extversion FROM pg_extension WHERE extname = 'vector'")
            row = await found.fetchone()
            version = connection.info.server_version
            return {"postgresql": f"{version // 10_000}.{version % 10_000}", "pgvector": row[0] if row else None}
        if path == "/count":
            table = sql.Identifier(*self._table.name.split("."))
            row = await (await connection.execute(sql.SQL("SELECT count(*) FROM {}").format(table))).fetchone()
            return row[0] if row else None
        if path == "/settings":
            return await self._settings(connection)
        return {"ready": True}

    async def _search(self, asked: BridgeQuery, connection: psycopg.AsyncConnection[Any]) -> list[tuple[str, float]]:
        query, vector = self._table.query(asked), bytes(asked.vector).decode()
        if asked.exact:
            async with connection.transaction():
                await connection.execute("SET LOCAL enable_indexscan = off")
                return await (await connection.execute(query, (vector,))).fetchall()
        if self._effort[id(connection)] != asked.effort:
            knob = sql.SQL(self._table.knob)  # one of KNOBS
            new = sql.SQL("RESET {}").format(knob)
            if asked.effort is not None:
                new = sql.SQL("SET {} = {}").format(knob, sql.Literal(asked.effort))
            await connection.execute(new)
            self._effort[id(connection)] = asked.effort
        return await (await connection.execute(query, (vector,), prepare=True)).fetchall()

    async def _settings(self, connection: psycopg.AsyncConnection[Any]) -> dict[str, Any]:
        """The table's indexes as they were made, and what of the server decides the speed."""
        name = self._table.name.split(".")[-1]
        found = await connection.execute("SELECT indexdef FROM pg_indexes WHERE tablename = %s ORDER BY 1", (name,))
        indexes = [row[0] for row in await found.fetchall()]
        found = await connection.execute("SELECT name, setting FROM pg_settings WHERE name = ANY(%s)", ([*SETTINGS],))
        server = {row[0]: row[1] for row in await found.fetchall()}
        return {"indexes": indexes, "server": dict(sorted(server.items())), "connections": self._connections}


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one. OSError: it cannot be had.

    The protocol is named because asyncio turns Nagle's algorithm off only where it is. uvicorn writes head and body
    apart: every answer would wait 40 ms for the generator's delayed acknowledgement, and the database be blamed.
    """
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((host, port))
    listener.listen(1024)
    return listener


async def serve(bridge: Bridge, listener: socket.socket, stop: Callable[[], object] | None = None) -> None:
    """Prints the port once the connections are open, and serves until `stop` returns; None: until it is ended."""
    await bridge.open()
    server = uvicorn.Server(uvicorn.Config(bridge, lifespan="off", access_log=False, log_level="warning"))
    if stop is not None:

        def end() -> None:
            stop()
            server.should_exit = True

        threading.Thread(target=end, daemon=True).start()
    print(listener.getsockname()[1], flush=True)
    await server.serve(sockets=[listener])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in SqlTable.__struct_fields__:
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--connections", type=int, default=8)
    given = vars(parser.parse_args())
    connections = given.pop("connections")
    bridge = Bridge(SqlTable(**given), os.environ["PERWATT_DSN"], connections)
    listener = listen("127.0.0.1", 0)
    try:
        asyncio.run(serve(bridge, listener, sys.stdin.read))
    except psycopg.Error as error:
        sys.exit(f"PostgreSQL: {str(error).strip()}")


if __name__ == "__main__":
    main()
