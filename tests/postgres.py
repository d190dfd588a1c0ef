"""A PostgreSQL with pgvector of our own, from the package `pgserver`, on a free port.

It refuses to run as root, so then it runs as nobody, in a folder that nobody may reach.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import psycopg

from loadtest.generator.wire import free_port

# Its programs are wanted and not its module, which would look for a folder of its own.
PGSERVER = find_spec("pgserver")
NOBODY = 65534
START_S = 120


@contextmanager
def postgres() -> Iterator[str]:
    """Yields its connection string."""
    user = NOBODY if os.geteuid() == 0 else None
    assert PGSERVER is not None
    assert PGSERVER.submodule_search_locations is not None
    programs = Path(PGSERVER.submodule_search_locations[0]) / "pginstall" / "bin"
    place = Path(tempfile.mkdtemp(prefix="postgres-", dir="/tmp"))  # pytest's folders are closed to nobody
    port = free_port()
    dsn = f"postgresql://postgres@127.0.0.1:{port}/postgres"
    try:
        if user is not None:
            os.chown(place, user, -1)
        initdb = [
            str(programs / "initdb"),
            "--auth=trust",
            "--username=postgres",
            "--encoding=UTF8",
            str(place / "data"),
        ]
        subprocess.run(initdb, check=True, user=user, stdout=subprocess.DEVNULL)
        options = [word for setting in (f"port={port}", "fsync=off") for word in ("-c", setting)]
        command = [str(programs / "postgres"), "-D", str(place / "data"), "-k", str(place), *options]
        with (place / "log").open("w") as log, subprocess.Popen(command, user=user, stdout=log, stderr=log) as server:
            try:
                _wait(dsn, server)
                yield dsn
            finally:
                server.terminate()
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _wait(dsn: str, server: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + START_S
    while True:
        try:
            psycopg.connect(dsn).close()
            return
        except psycopg.OperationalError:
            if time.monotonic() > until or server.poll() is not None:
                raise
            time.sleep(0.1)
