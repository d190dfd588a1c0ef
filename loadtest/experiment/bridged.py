"""A database asked through a bridge (`loadtest/targets/sql_bridge.py`) that the measurement starts beside it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from loadtest.errors import WorkloadError
from loadtest.experiment.config import ExperimentConfig
from loadtest.generator.calibration import own_server
from loadtest.generator.watch import on_this_machine
from loadtest.targets.pgvector import place_of, table_of

CONNECTIONS = 8  # of the bridge to the database, which runs one query over each at a time


@contextmanager
def bridged(config: ExperimentConfig, variables: dict[str, str]) -> Iterator[tuple[str, str]]:
    """The URL of a bridge to the database of the URL, on the CPUs of the service, and where the database listens.

    Raises WorkloadError for a database of another machine, because the bridge must stand beside it.
    """
    place = place_of(config.url)
    if not on_this_machine(place.removeprefix("http://").rpartition(":")[0]):
        raise WorkloadError(
            f"{place.removeprefix('http://')} is another machine, and the bridge must stand beside the database: run "
            f"perwatt loadtest bridge there, and give --url http://…"
        )
    if config.start:
        raise WorkloadError("--start is for services of HTTP; start PostgreSQL before, and give its --url")
    table = table_of(config.index, variables)
    words = [word for name in table.__struct_fields__ for word in (f"--{name}", getattr(table, name))]
    arguments = [*words, "--connections", str(CONNECTIONS)]
    environment = {**os.environ, "PERWATT_DSN": config.url}
    with own_server("loadtest.targets.sql_bridge", arguments, config.start_cpus, False, environment) as (url, _):
        yield url, place
