"""pgvector: a table of PostgreSQL's, read through a cursor of the server's in one transaction.

The transaction sees one state of the table, however long it takes and whatever is written meanwhile. The metric is that
of an index on the column, where there is one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np

from service.moving.rows import Collection, MovedRows, MovingError, SourceOptions, chosen

ROWS = 500
TYPES = ("vector", "halfvec")
METRICS = {"cosine": "cosine", "ip": "ip", "l2": "l2"}
COLUMNS = """
    SELECT n.nspname || '.' || c.relname, a.attname, t.typname,
           (SELECT o.opcname FROM pg_index i JOIN pg_opclass o ON o.oid = i.indclass[0]
            WHERE i.indrelid = c.oid AND i.indkey[0] = a.attnum AND o.opcname LIKE t.typname || '%%' LIMIT 1)
    FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_type t ON t.oid = a.atttypid
    WHERE t.typname = ANY(%s) AND c.relkind IN ('r', 'p', 'm', 'v') AND NOT a.attisdropped
    ORDER BY 1, a.attnum"""


@contextmanager
def opened(asked: SourceOptions) -> Iterator[Collection]:
    """place: what libpq takes, as postgresql://user@host/database; a password may come from PGPASSWORD or ~/.pgpass.

    Raises:
        MovingError: The server cannot be reached, or has no such table.
    """
    try:
        import psycopg
    except ImportError:
        raise MovingError(
            "reading from PostgreSQL needs the package psycopg: pip install 'perwatt[pgvector]'"
        ) from None
    # The password of an address must not be said, nor written into embed.json.
    try:
        parts = psycopg.conninfo.conninfo_to_dict(asked.place)
        place = f"pgvector:{parts.get('host', 'localhost')}/{parts.get('dbname', '')}"
        with psycopg.connect(asked.place, password=asked.key) if asked.key else psycopg.connect(asked.place) as server:
            server.read_only = True
            server.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            yield _collection(server, place, asked)
    except psycopg.Error as error:
        raise MovingError(f"PostgreSQL refuses: {str(error).strip().splitlines()[0]}") from error


def _collection(server: Any, place: str, asked: SourceOptions) -> Collection:
    tables: dict[str, dict[str, str | None]] = {}
    for table, column, _type, operators in server.execute(COLUMNS, [list(TYPES)]).fetchall():
        tables.setdefault(table.removeprefix("public."), {})[column] = operators
    table = chosen(place, asked.collection, tables)
    columns = tables[table]
    if asked.vector_field is None and len(columns) > 1:
        raise MovingError(
            f"{place}, table {table} has columns of vectors {', '.join(columns)}: name one with --vector-field"
        )
    column = asked.vector_field or next(iter(columns))
    if column not in columns:
        raise MovingError(
            f"{place}, table {table} has no column {column!r} of vectors; there are: {', '.join(columns)}"
        )
    metric = next((name for name in METRICS if f"_{name}_" in (columns[column] or "")), None)
    count = server.execute(_query(table, "SELECT count(*) FROM {}")).fetchone()[0]
    return Collection(f"{place}, table {table}", partial(_read, server, table, column, list(columns)), count, metric)


def _query(table: str, text: str, **names: str) -> Any:
    from psycopg import sql

    named = {key: sql.Identifier(name) for key, name in names.items()}
    return sql.SQL(text).format(sql.Identifier(*table.split(".", 1)), **named)


def _read(server: Any, table: str, column: str, others: list[str], vectors: bool) -> Iterator[MovedRows]:
    with server.cursor(name="perwatt_import") as cursor:
        cursor.itersize = ROWS
        cursor.execute(_query(table, "SELECT *, {column}::text FROM {}", column=column))
        while rows := cursor.fetchmany(ROWS):
            names = [each.name for each in cursor.description][:-1]
            fields = [number for number, name in enumerate(names) if name not in others]
            records = [{names[number]: row[number] for number in fields} for row in rows]
            yield MovedRows(records, [_vector(row[-1]) for row in rows] if vectors else None)


def _vector(text: str | None) -> Any:
    """As pgvector prints it: [1,2.5,3]."""
    return None if text is None else np.array(text[1:-1].split(","), np.float32)
