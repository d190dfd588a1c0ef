"""A reference server and a generator for it, as the proofs in real time need them: apart, and ahead of other programs.

Both run in the kernel's real-time class where that is allowed. What a proof then shows of noise is the machine's and
the method's, and not that of whatever else happens to run.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from embed.vectors.scratch import scratch_folder
from loadtest.generator.priority import go_first
from loadtest.generator.run import Generator
from loadtest.workload.plan import Plan


def apart() -> tuple[list[int], list[int]]:
    """CPUs for the server and CPUs for the generator; the same when there is only one."""
    cpus = sorted(os.sched_getaffinity(0))
    return (cpus[:1], cpus[1:]) if len(cpus) > 1 else (cpus, cpus)


def generator_for(plan: Plan) -> Generator:
    """Other programs are allowed, because both run before them: they cost the proofs a little noise and no bias."""
    return Generator(plan, cpus=apart()[1], allow_interference=True)


@contextmanager
def reference_server(*arguments: str) -> Iterator[tuple[str, int]]:
    """A reference server as a process, on a CPU of its own where there are two; yields its URL and process id."""
    server = subprocess.Popen(
        [sys.executable, "-m", "loadtest.selftest.reference_server", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    os.sched_setaffinity(server.pid, apart()[0])
    go_first(server.pid)
    try:
        assert server.stdout is not None
        yield f"http://127.0.0.1:{int(server.stdout.readline())}", server.pid
    finally:
        assert server.stdin is not None
        assert server.stdout is not None
        server.stdin.close()
        server.stdout.close()
        try:
            server.wait(5)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


@contextmanager
def plan_for(url: str, **changes: object) -> Iterator[Plan]:
    with scratch_folder() as folder:
        queries = Path(folder, "queries.jsonl")
        queries.write_text("\n".join(json.dumps({"text": f"known question {i}"}) for i in range(100)))
        plan = Plan(url=url, index="known", queries=str(queries), rate_qps=1, duration_s=1, warmup_s=1)
        yield msgspec.structs.replace(plan, **changes)
