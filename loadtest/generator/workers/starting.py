"""Starts Locust on our load, whether it is all of a trial's generators, their master, or one of them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO

LOCUSTFILE = Path(__file__).parents[1] / "locustfile.py"


def start_locust(
    options: Sequence[str], log: IO[str], cpus: Sequence[int] | None, **environ: str
) -> subprocess.Popen[str]:
    """Its standard output is a pipe and its standard error goes to `log`; `cpus` are for it and its children."""
    process = subprocess.Popen(
        [sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--loglevel", "WARNING", *options],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
        cwd=LOCUSTFILE.parents[1],
        env={**os.environ, "PYTHONUNBUFFERED": "1", **environ},
    )
    if cpus:
        os.sched_setaffinity(process.pid, cpus)
    return process
