"""Locust as a fork of a process that has imported it, for tests that start generators in their own process.

By itself it imports for a second and a half of processor time before it is asked anything, and some tests start it five
times. What a user starts is tried by the tests that run `perwatt loadtest` or `locust` as commands.
"""

from __future__ import annotations

import atexit
import functools
import os
from collections.abc import Sequence
from typing import IO

from warm import Process, Warm

from loadtest.generator.workers.starting import LOCUSTFILE

# What `locust` imports, and what our file for it does; that itself is run in each fork.
IMPORTED = ("locust.main", "loadtest.generator.workers.site", "loadtest.targets.perwatt", "loadtest.workload.filters")
PROGRAM = "import sys; sys.argv[0] = 'locust'; from locust.main import main; main()"


@functools.cache
def _shared() -> Warm:
    warm = Warm(imported=IMPORTED)
    atexit.register(warm.close)
    return warm


def start_locust(options: Sequence[str], log: IO[str], cpus: Sequence[int] | None, **environ: str) -> Process:
    """As `loadtest.generator.workers.starting.start_locust`."""
    arguments = ["-f", str(LOCUSTFILE), "--loglevel", "WARNING", *options]
    process = _shared().start(arguments, log, program=PROGRAM, environment=environ)
    os.sched_setaffinity(process.pid, cpus or os.sched_getaffinity(0))  # as a child of this process would have it
    return process
