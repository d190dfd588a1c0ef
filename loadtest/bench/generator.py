"""How fast one core of the load generator is, beside what one core of the service answers.

The generator's ceiling is the highest rate at which a server that does nothing still sees a tail below a tenth of a
50 ms objective, with answers of as many bytes as the service's. The service is started on one core and offered far more
than it can do; what it answers is what one core of it is good for. A generator core must be worth one of those.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import msgspec

from loadtest.experiment.hosted import hosted
from loadtest.generator.run import Generator
from loadtest.targets.perwatt import PerwattTarget
from loadtest.targets.questions import try_each_kind
from loadtest.workload.plan import Plan
from loadtest.workload.queries import read_queries, write_queries
from loadtest.workload.requests import Workload

SECONDS = 5.0
TOO_MUCH_QPS = 4000.0
CONNECTIONS = 64
SLO_MS = 50.0


def measure(vectors: Path, root: Path, name: str) -> dict[str, Any]:
    """Queries a second: the generator's ceiling, and the service by text and by vector."""
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        raise SystemExit("The generator and the service need a CPU each; this machine offers one.")
    command = f"{sys.executable} -m deploy.command serve --root {root} --port {{port}}"
    with tempfile.TemporaryDirectory() as folder:
        with hosted(command, cpus[:1], first=True) as service:
            queries = read_queries(vectors, limit=2000)
            files = {kind: Path(folder, f"{kind}.jsonl") for kind in ("text", "vector")}
            write_queries(queries, files["text"])
            plan = Plan(
                url=service.url, index=name, queries=str(files["text"]), rate_qps=1, duration_s=1, slo_p99_ms=SLO_MS
            )
            target = PerwattTarget(plan)
            embedded = target.embed([query.text or "" for query in queries])
            write_queries(
                [
                    msgspec.structs.replace(query, text=None, vector=vector)
                    for query, vector in zip(queries, embedded, strict=True)
                ],
                files["vector"],
            )
            answer_bytes = try_each_kind(target, Workload(plan, queries[:1], target))
            target.close()
            answered = {}
            for kind, file in files.items():
                loaded = msgspec.structs.replace(plan, queries=str(file), max_in_flight=CONNECTIONS)
                generator = Generator(loaded, cpus=cpus[1:2])
                answered[kind] = round(generator.measure(TOO_MUCH_QPS, SECONDS, "search").achieved_qps)
        found = Generator(plan, cpus=cpus[1:2]).calibrate(8000.0, ceiling=True, answer_bytes=answer_bytes)
    ceiling = {"queries_per_s": round(found.sustained_qps), "p99_ms": round(found.p99_ms, 2), "cpu": found.cpu}
    return {"answer_bytes": answer_bytes, "ceiling": ceiling, "service_queries_per_s": answered}
