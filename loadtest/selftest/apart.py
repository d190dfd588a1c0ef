"""A reference server and a generator for it, as the proofs in real time need them: apart, and ahead of other programs.

Both run in the kernel's real-time class where that is allowed. What a proof then shows of noise is the machine's and
the method's, and not that of whatever else happens to run.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from embed.vectors.scratch import scratch_folder
from loadtest.generator.calibration import own_server
from loadtest.generator.run import Generator, Live
from loadtest.workload.plan import Plan


def apart() -> tuple[list[int], list[int]]:
    """CPUs for the server and CPUs for the generator; the same when there is only one."""
    cpus = sorted(os.sched_getaffinity(0))
    return (cpus[:1], cpus[1:]) if len(cpus) > 1 else (cpus, cpus)


def generator_for(plan: Plan, live: Live | None = None) -> Generator:
    """Other programs are allowed, because both run before them: they cost the proofs a little noise and no bias."""
    return Generator(plan, cpus=apart()[1], allow_interference=True, live=live)


class Within:
    """Done within the window, however long the generator takes to start: after its first line, in a thread."""

    def __init__(self, act: Callable[[], None]) -> None:
        self._thread = threading.Thread(target=act, daemon=True)
        self._begun = False

    def __call__(self, fields: dict[str, Any]) -> None:
        if not self._begun:
            self._begun = True
            self._thread.start()

    def join(self) -> None:
        if self._begun:
            self._thread.join()


@contextmanager
def reference_server(*arguments: str) -> Iterator[tuple[str, int]]:
    """A reference server as a process, on a CPU of its own where there are two; yields its URL and process id."""
    with own_server("loadtest.selftest.reference_server", arguments, apart()[0], first=True) as server:
        yield server


TEMPLATE = """
engine = "reference server"
[search]
path = "/v1/indexes/{index}/search"
body = '{"text": "{text}", "k": "{k}"}'
ids = "hits[*].id"
took_ms = "took_ms"
"""


@contextmanager
def plan_for(url: str, target: str = "perwatt", **changes: object) -> Iterator[Plan]:
    """A plan for the reference server. target: "http" asks it through a request template, as any other search."""
    with scratch_folder() as folder:
        queries = Path(folder, "queries.jsonl")
        queries.write_text("\n".join(json.dumps({"text": f"known question {i}"}) for i in range(100)))
        plan = Plan(url=url, index="known", queries=str(queries), rate_qps=1, duration_s=1, warmup_s=1)
        if target == "http":
            template = Path(folder, "reference.toml")
            template.write_text(TEMPLATE)
            changes["template"] = str(template)
        yield msgspec.structs.replace(plan, target=target, **changes)
