"""LanceDB: a table of a folder or of an object store, read batch by batch through the lancedb package."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from service.moving.rows import Collection, MovedRows, MovingError, SourceOptions, chosen
from service.moving.tables import BATCH_ROWS, batches_of

MOST_TABLES = 10_000


@contextmanager
def opened(asked: SourceOptions) -> Iterator[Collection]:
    """Raises MovingError where there is no such folder or table."""
    try:
        import lancedb
    except ImportError:
        raise MovingError("reading LanceDB needs the package lancedb: pip install 'perwatt[lancedb]'") from None
    if "://" not in asked.place and not Path(asked.place).is_dir():
        raise MovingError(f"there is no folder {asked.place}")
    name = f"lancedb:{asked.place}"
    try:
        database = lancedb.connect(asked.place)
        table = chosen(name, asked.collection, _tables(database))
        opened_table = database.open_table(table)
        yield Collection(
            f"{name}, table {table}",
            partial(_read, opened_table, f"{name}, table {table}", asked.vector_field),
            opened_table.count_rows(),
            _metric(opened_table),
        )
    except (OSError, RuntimeError, ValueError) as error:
        raise MovingError(f"{name} cannot be read: {str(error).splitlines()[0]}") from error


def _tables(database: Any) -> list[str]:
    if hasattr(database, "list_tables"):
        return list(database.list_tables(limit=MOST_TABLES).tables)
    return list(database.table_names(limit=MOST_TABLES))


def _read(table: Any, place: str, asked: str | None, vectors: bool) -> Iterator[MovedRows]:
    yield from batches_of(place, table.search().to_batches(BATCH_ROWS), asked, vectors)


def _metric(table: Any) -> str | None:
    """That of an index of vectors, where there is one."""
    for index in table.list_indices():
        statistics = table.index_stats(index.name)
        kind = str(getattr(statistics, "distance_type", None) or "")
        if kind in ("cosine", "l2", "dot"):
            return "ip" if kind == "dot" else kind
    return None
