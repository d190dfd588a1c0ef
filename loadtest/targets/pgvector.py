"""PostgreSQL with pgvector: where it is, what its bridge is told, and vectors into it; how it is asked is in
pgvector.toml and sql_bridge.py."""

from __future__ import annotations

import json
from collections.abc import Iterator

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from loadtest.errors import TargetError, WorkloadError
from loadtest.targets.loading import LoadedRows
from loadtest.targets.sql_bridge import KNOBS, OPERATORS, SqlTable

OPCLASSES = {"cosine": "vector_cosine_ops", "ip": "vector_ip_ops", "l2": "vector_l2_ops"}
HNSW = ("m", "ef_construction")


def is_database(url: str) -> bool:
    """Whether a URL is one of PostgreSQL's own."""
    return url.startswith(("postgresql://", "postgres://"))


def place_of(dsn: str) -> str:
    """Where the database listens, as a URL: http://host:port. Raises WorkloadError for what is no connection string."""
    try:
        given = conninfo_to_dict(dsn)
    except psycopg.Error as error:
        raise WorkloadError(f"--url: {str(error).strip()}; expected postgresql://user@host:5432/database") from error
    host = str(given.get("host") or "localhost")
    return f"http://{'localhost' if host.startswith('/') else host}:{given.get('port') or 5432}"


def table_of(index: str, variables: dict[str, str]) -> SqlTable:
    """The table that is searched. Raises WorkloadError for an operator or a knob that pgvector has not."""
    if not index:
        raise WorkloadError("pgvector searches a table: say which, with --index")
    table = SqlTable(index, **variables)
    if table.operator not in OPERATORS or table.knob not in KNOBS:
        raise WorkloadError(
            f"--set operator is {table.operator!r} and knob {table.knob!r}; expected one of {', '.join(OPERATORS)} and "
            f"one of {', '.join(KNOBS)}"
        )
    return table


def fill(url: str, index: str, rows: Iterator[LoadedRows], metric: str, settings: dict[str, str]) -> int:
    """Makes the table `index` (id, payload, embedding) with an HNSW index and adds all rows; returns how many.

    Args:
        settings: of the index, by pgvector's names.

    Raises WorkloadError for a setting that there is not, TargetError where the database refuses.
    """
    if unknown := sorted(settings.keys() - set(HNSW)):
        raise WorkloadError(f"pgvector has no setting {unknown[0]}; there are: {', '.join(HNSW)}")
    try:
        with psycopg.connect(url) as connection:
            connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
            return _fill(connection, index, rows, OPCLASSES[metric], settings)
    except psycopg.Error as error:
        raise TargetError(f"PostgreSQL refuses: {str(error).strip()}") from error


def _fill(
    connection: psycopg.Connection, index: str, rows: Iterator[LoadedRows], opclass: str, settings: dict[str, str]
) -> int:
    table, count = sql.Identifier(*index.split(".")), 0
    for part in rows:
        if not count:
            dim = sql.Literal(part.vectors.shape[1])
            made = sql.SQL("CREATE TABLE {} (id text PRIMARY KEY, payload jsonb, embedding vector({}))")
            connection.execute(made.format(table, dim))
        with connection.cursor().copy(sql.SQL("COPY {} FROM STDIN").format(table)) as copy:
            for id_, payload, vector in zip(part.ids, part.payloads, part.vectors.tolist(), strict=True):
                copy.write_row((id_, json.dumps(payload), json.dumps(vector)))
        count += len(part.ids)
    values = [sql.SQL("{} = {}").format(sql.Identifier(name), sql.Literal(int(v))) for name, v in settings.items()]
    options = sql.SQL(" WITH ({})").format(sql.SQL(", ").join(values)) if values else sql.SQL("")
    hnsw = sql.SQL("CREATE INDEX ON {} USING hnsw (embedding {}){}")
    connection.execute(hnsw.format(table, sql.Identifier(opclass), options))
    connection.execute(sql.SQL("ANALYZE {}").format(table))
    return count
