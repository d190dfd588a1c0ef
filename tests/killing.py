"""Where a service and what works beside it are killed, and how until nothing of it is left."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from faulty_disk import KillPoint
from patience import patient
from serving import Server

LOG, ALIAS = "/docs/changes.sqlite", "/docs/current"
# Of the service and the rebuilds that it starts; each with the most calls that it may survive.
POINTS = {
    "before a commit reaches the disk": (KillPoint(LOG, "sync", "before"), 60),
    "after a commit has reached the disk, before its caller hears": (KillPoint(LOG, "sync", "after"), 60),
    "in the middle of writing a commit or a checkpoint": (KillPoint(LOG, "write", "before"), 400),
    "before an alias is exchanged": (KillPoint(ALIAS, "rename", "before"), 2),
    "after an alias was exchanged": (KillPoint(ALIAS, "rename", "after"), 2),
    "before a record of a rebuild is exchanged": (KillPoint("/.rebuilds/", "rename", "before"), 6),
    "after a record of a rebuild was exchanged": (KillPoint("/.rebuilds/", "rename", "after"), 6),
}
# Of commands, and of rebuilds.
BUILD_POINTS = {
    "in the middle of syncing a generation": (KillPoint("/.building-", "sync", "before"), 15),
    "before a generation gets its name": (KillPoint("/docs/.building-docs-", "rename", "before"), 1),
    "after a generation got its name": (KillPoint("/docs/.building-docs-", "rename", "after"), 1),
}
GC_POINTS = {
    "after a generation lost its name": (KillPoint("/.building-deleted-", "rename", "after"), 2),
    "in the middle of deleting a generation": (KillPoint("/.building-deleted-", "delete", "before"), 20),
    "before a trimmed log reaches the disk": (KillPoint(LOG, "sync", "before"), 3),
    "after a trimmed log has reached the disk": (KillPoint(LOG, "sync", "after"), 3),
}
Armed = tuple[str, dict[str, str]]  # the name of a point, and the environment of who dies there


def chosen(rng: random.Random, points: dict[str, tuple[KillPoint, int]], share: float) -> Armed | None:
    name = rng.choice(list(points))
    nth = rng.randint(1, points[name][1])
    return (name, points[name][0].environment(nth)) if rng.random() < share else None


@contextlib.contextmanager
def over(server: Server) -> Iterator[Server]:
    """Nothing of it is left afterwards."""
    try:
        yield server
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.process.pid, signal.SIGKILL)
        server.end()


def end(server: Server, how: str, rng: random.Random) -> None:
    """Until no process of it is left."""
    pid = server.process.pid
    children = Path(f"/proc/{pid}/task/{pid}/children")
    with contextlib.suppress(ProcessLookupError, FileNotFoundError):
        if how == "all":
            os.killpg(pid, signal.SIGKILL)
        elif how == "the parent":
            os.kill(pid, signal.SIGKILL)
        elif how == "told":
            os.kill(pid, signal.SIGTERM)
        else:
            workers = children.read_text().split()
            os.kill(int(rng.choice(workers)) if workers else pid, signal.SIGKILL)
            time.sleep(rng.uniform(0, 1))
            os.killpg(pid, signal.SIGKILL)
    server.process.wait(patient(60))
    limit_s = time.monotonic() + patient(60)
    with contextlib.suppress(ProcessLookupError):
        while True:  # workers whose parent was killed finish what they have begun
            os.killpg(pid, 0)
            assert time.monotonic() < limit_s, "a worker outlives its parent"
            time.sleep(0.01)
