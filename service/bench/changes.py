"""What changes cost a whole request: perwatt beside itself, over the same index with documents written to it.

Both servers run on one core and are asked in turns, while the other is stopped. Requests bring a vector, in base64: a
text costs more whatever is searched, so the changes would weigh less.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from index import build_generation
from index.bench.build import grown
from index.bench.changes import loaded
from index.changes.log import Log
from index.changes.log_file import Write
from service.bench import contenders
from service.bench.contenders import Contender

NAME = "bench"
_AT_ONCE = 5_000  # documents a transaction


def measure(
    source: Path | None = None,
    rows: int = 50_000,
    written: int = 10_000,
    rounds: int = 5,
    seconds: int = 3,
    connections: int = 16,
) -> dict[str, Any]:
    """{"rows": …, "documents": …, "connections": …, "alone": …, "written": …}; of the last two the requests a second of
    one core in the best round, and the least processor time a request, in microseconds.

    Args:
        source: As index.bench.changes takes it.
        written: Documents with new ids.
    """
    load = loaded(source)
    vectors = grown(load.rows, rows + written)
    bodies = [json.dumps({"vector": contenders.packed(query.tolist())}) for query in load.queries[:1000]]
    cores = sorted(os.sched_getaffinity(0))
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="perwatt-bench-")))
        built, changed = (place / name / "indexes" for name in ("alone", "written"))
        build_generation(vectors[:rows], list(range(rows)), root=built, name=NAME, metric="cosine", family="graph")
        shutil.copytree(built, changed, copy_function=os.link, symlinks=True)
        log = Log(changed / NAME, vectors.shape[1], None)
        for start in range(rows, rows + written, _AT_ONCE):
            some = vectors[start : min(start + _AT_ONCE, rows + written)]
            log.append([Write(str(row), vector.tobytes(), b"{}") for row, vector in enumerate(some, start)])
        log.close()
        racing = []
        for name in ("alone", "written"):
            server, port = contenders.perwatt(stack, place / name, str(cores[0]))
            racing.append(Contender(name, server, port, f"/v1/indexes/{NAME}/search", bodies, None, None))
        for _ in range(rounds):
            for contender, other in (racing, racing[::-1]):
                with other.server.paused():
                    contender.round(place, seconds, connections, str(cores[-1]))
        return {"rows": rows, "documents": written, "connections": connections} | {
            each.name: {
                "requests_per_s": round(each.best["per_s"], 1),
                "cpu_us_a_request": round(min(found["cpu_us"] for found in each.rounds), 1),
            }
            for each in racing
        }
