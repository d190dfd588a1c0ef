"""A PostgreSQL of one's own for as long as it is needed, from the programs of the package `pgserver`.

It refuses to run as root, so then it runs as nobody, in a folder that nobody may reach.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psycopg

from loadtest.errors import TargetError
from loadtest.generator.ports import free_port

NOBODY = 65534
START_S = 120.0
PROGRAMS = "pgserver/pginstall/bin"  # of a site-packages folder


@contextmanager
def postgres(programs: Path, settings: Sequence[str] = (), cpus: list[int] | None = None) -> Iterator[str]:
    """Its connection string; the data is gone afterwards.

    Args:
        programs: the folder of `initdb` and `postgres`.
        settings: NAME=VALUE of postgresql.conf.
        cpus: that it is confined to.

    Raises TargetError with its last words when it does not start.
    """
    user = NOBODY if os.geteuid() == 0 else None
    place = Path(tempfile.mkdtemp(prefix="postgres-", dir="/tmp"))
    port = free_port()
    dsn = f"postgresql://postgres@127.0.0.1:{port}/postgres"
    try:
        if user is not None:
            os.chown(place, user, -1)
            programs = _reachable(programs, place)
        initdb = [
            str(programs / "initdb"),
            "--auth=trust",
            "--username=postgres",
            "--encoding=UTF8",
            str(place / "data"),
        ]
        subprocess.run(initdb, check=True, user=user, stdout=subprocess.DEVNULL)
        options = [word for setting in (f"port={port}", *settings) for word in ("-c", setting)]
        command = [str(programs / "postgres"), "-D", str(place / "data"), "-k", str(place), *options]
        with (place / "log").open("w") as log, subprocess.Popen(command, user=user, stdout=log, stderr=log) as server:
            try:
                if cpus:
                    os.sched_setaffinity(server.pid, cpus)
                _wait(dsn, server, place / "log")
                yield dsn
            finally:
                server.terminate()
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _reachable(programs: Path, place: Path) -> Path:
    """`programs`, or a copy in `place` where a folder above them is closed to others, as root's own home is."""
    if all(folder.stat().st_mode & 0o001 for folder in programs.parents):
        return programs
    # The package and the libraries beside it, which its programs find from where they are.
    package = programs.parent.parent
    for folder in package.parent.glob(f"{package.name}*"):
        shutil.copytree(folder, place / folder.name)
    return place / programs.relative_to(package.parent)


def _wait(dsn: str, server: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + START_S
    while True:
        try:
            psycopg.connect(dsn).close()
            return
        except psycopg.OperationalError as error:
            if time.monotonic() > until or server.poll() is not None:
                raise TargetError(f"PostgreSQL does not start: {log.read_text()[-500:]}") from error
            time.sleep(0.1)
