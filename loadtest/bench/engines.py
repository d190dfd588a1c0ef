"""`make report TARGET=chroma | pgvector`: another engine filled with the demo's documents and measured as perwatt is.

The queries are those of perwatt's report, as vectors that perwatt makes of them; the exact neighbours come from the
vectors that the engine was filled with. The engine is confined to the CPUs that perwatt has in its own report.

    python -m loadtest.bench.engines TARGET VECTORS ROOT INDEX PEERS OUT SERVER_CPUS LOAD_CPUS [OPTIONS OF KNEE…]
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from embed.vectors.scratch import scratch_folder
from loadtest.bench.postgres import PROGRAMS, postgres
from loadtest.errors import TargetError
from loadtest.experiment.config import parse_cpus
from loadtest.experiment.hosted import hosted
from loadtest.targets.loading import read_rows
from loadtest.targets.named import filler
from loadtest.targets.perwatt import PerwattTarget
from loadtest.workload.plan import Plan
from loadtest.workload.queries import read_queries

QUERIES = 2000
SETTINGS = {"chroma": {"ef_construction": "100", "ef_search": "100"}, "pgvector": {"m": "16", "ef_construction": "100"}}
POSTGRES = ("shared_buffers=1GB", "maintenance_work_mem=1GB", "max_wal_size=4GB", "jit=off")


def write_queries(vectors: Path, root: Path, index: str, out: Path) -> None:
    """The titles of documents as the vectors that perwatt makes of them, float32 (n, dim)."""
    queries = read_queries(vectors, limit=QUERIES)
    with hosted(f"{sys.executable} -m deploy.command serve --root {root} --port {{port}}") as service:
        plan = Plan(url=service.url, index=index, queries=str(vectors), rate_qps=1, duration_s=1)
        target = PerwattTarget(plan)
        try:
            np.save(out, np.array(target.embed([query.text or "" for query in queries]), np.float32))
        finally:
            target.close()


def write_truth(vectors: Path, folder: Path) -> None:
    """The vectors and ids of a vectors folder as vectors.npy and ids.txt."""
    parts = list(read_rows(vectors, None))
    np.save(folder / "vectors.npy", np.concatenate([part.vectors for part in parts]))
    (folder / "ids.txt").write_text("".join(f"{id_}\n" for part in parts for id_ in part.ids), "utf-8")


@contextmanager
def running(target: str, peers: Path, folder: Path, cpus: list[int] | None) -> Iterator[str]:
    """The engine of `peers`, empty; its URL. Raises TargetError when it is not installed there."""
    if target == "chroma":
        program = peers / "chroma" / "bin" / "chroma"
        command = f"{program} run --path {folder / 'chroma'} --port {{port}}"
        with hosted(command, cpus, ready="/api/v2/heartbeat") as service:
            yield service.url
        return
    found = sorted((peers / "pgvector").glob(f"lib/python3*/site-packages/{PROGRAMS}"))
    if not found:
        raise TargetError(f"there is no PostgreSQL in {peers / 'pgvector'}; make setup-servers installs it")
    with postgres(found[0], POSTGRES, cpus) as dsn:
        yield dsn


@dataclass(frozen=True)
class Kit:
    """What every engine is measured with: the same documents, queries and truth, on the same CPUs.

    Args:
        index: of `root`, built of `vectors`.
        peers: folder of the engines that are not ours.
        folder: of queries.npy, vectors.npy and ids.txt; `kit` writes them.
        server_cpus, load_cpus: as the commands take them.
    """

    vectors: Path
    root: Path
    index: str
    peers: Path
    folder: Path
    server_cpus: str
    load_cpus: str


@contextmanager
def kit(vectors: Path, root: Path, index: str, peers: Path, server_cpus: str, load_cpus: str) -> Iterator[Kit]:
    """Its folder is gone afterwards."""
    with scratch_folder() as name:
        folder = Path(name)
        write_queries(vectors, root, index, folder / "queries.npy")
        write_truth(vectors, folder)
        yield Kit(vectors, root, index, peers, folder, server_cpus, load_cpus)


def find_knee(kit: Kit, target: str, out: Path, options: Sequence[str]) -> int:
    """One trial of `perwatt loadtest knee`, the engine started for it and filled anew; its exit status."""
    knee = [sys.executable, "-m", "deploy.command", "loadtest", "knee", "--target", target,
            "--queries", str(kit.folder / "queries.npy"), "--generator-cpus", kit.load_cpus,
            "--truth", str(kit.folder / "vectors.npy"), str(kit.folder / "ids.txt"), "--out", str(out)]  # fmt: skip
    if target == "perwatt":
        serve = f"{sys.executable} -m deploy.command serve --root {kit.root} --port {{port}}"
        own = ["--index", kit.index, "--start", serve, "--start-cpus", kit.server_cpus, "--effort", "auto"]
        return subprocess.run([*knee, *own, *options]).returncode
    with running(target, kit.peers, kit.folder, parse_cpus(kit.server_cpus, "SERVER_CPUS")) as url:
        rows = read_rows(kit.folder / "vectors.npy", kit.folder / "ids.txt")
        print(f"filling {target}: {filler(target)(url, 'docs', rows, 'cosine', SETTINGS[target]):,} vectors")
        knee += ["--url", url, "--index", "docs"]
        if target == "pgvector":
            knee += ["--start-cpus", kit.server_cpus, "--effort", "auto"]
        return subprocess.run([*knee, *options]).returncode


def main(words: list[str]) -> int:
    target, vectors, root, index, peers, out, server_cpus, load_cpus, *options = words
    with kit(Path(vectors), Path(root), index, Path(peers), server_cpus, load_cpus) as made:
        return find_knee(made, target, Path(out), ["--arm", target, *options])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
