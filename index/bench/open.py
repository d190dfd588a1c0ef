"""Opening a large generation: how long until the first answer, apart from checking its hashes.

A million rows are built as any index is, and opened in fresh processes with the files in the page cache, as a server
starts again. `verify` reads every byte; opening after it reads the manifest, maps the sections, and reads of the rest
only tables that are small beside them. A thousand rows say what opening costs whatever the size. The first search pays
for the pages it touches.

The vectors are made, not embedded: points around seeded centres. Opening looks at none of them.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

ROWS, FEW_ROWS, DIM = 1_000_000, 1_000, 64
CENTRES = 2_000
ROUNDS = 5
SEED = 20261123

OPEN = """
import json, pathlib, sys, time
import numpy as np
from index import open_generation, verify
path = pathlib.Path(sys.argv[1])
clock = [time.perf_counter()]
verify(path)
clock.append(time.perf_counter())
generation = open_generation(path, verify=False)
clock.append(time.perf_counter())
query = generation.vector(0)[None]
for _ in range(2):
    generation.search(query, 10)
    clock.append(time.perf_counter())
steps = [later - earlier for earlier, later in zip(clock, clock[1:])]
print(json.dumps(dict(zip(("verify_s", "open_s", "first_search_s", "second_search_s"), steps))))
"""


def measure(rows: int = ROWS, dim: int = DIM) -> dict[str, Any]:
    """Figures with the unit in their name, of a large generation and of a small one. Each is the median of ROUNDS."""
    with tempfile.TemporaryDirectory() as scratch:
        return {"dim": dim, "large": opened(Path(scratch), rows, dim), "small": opened(Path(scratch), FEW_ROWS, dim)}


def opened(root: Path, rows: int, dim: int) -> dict[str, Any]:
    from index import build_generation

    path = build_generation(
        made(rows, dim), np.arange(rows), root=root, name=f"rows-{rows}", family="graph", profile="speed", switch=False
    )
    runs = [
        json.loads(subprocess.run([sys.executable, "-c", OPEN, str(path)], check=True, stdout=subprocess.PIPE).stdout)
        for _ in range(ROUNDS)
    ]
    size = sum(file.stat().st_size for file in path.iterdir())
    return {
        "rows": rows,
        "bytes": size,
        **{step: round(statistics.median(run[step] for run in runs), 5) for step in runs[0]},
    }


def made(rows: int, dim: int) -> npt.NDArray[np.float32]:
    generator = np.random.default_rng(SEED)
    centres = generator.normal(size=(CENTRES, dim)).astype(np.float32)
    vectors = centres[generator.integers(0, CENTRES, rows)]
    vectors += 0.6 * generator.standard_normal((rows, dim), np.float32)
    return vectors
