"""What a job costs beside its work: real texts embedded and built in shards by processes and by a Ray cluster of three
nodes, and the same tasks one after the other in one process.

    python -m deploy.jobs.bench here|processes|ray FOLDER      one of them, over FOLDER/docs.jsonl; prints what it took

The texts are the docstrings of what is installed here, which a machine has some ten thousands of, or a file of JSON
Lines, which may have millions.

Counted is the processor time of whoever runs tasks and of all that it has started, from the plan to the end of the last
task: imports, models that are loaded again, and Ray's own processes are in it, the start of a cluster is not. The time
on the clock says something only while nobody else uses the machine, which is looked at too.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from index.machine import busy_s

if TYPE_CHECKING:
    from deploy.jobs.attempts import Workers
    from deploy.jobs.plan import Job

ROWS, SHARDS, NODES = 30_000, 8, 3
ARMS = ("here", "processes", "ray")
TARGET = 1.15
QUIET = 0.05  # of the machine, that others may use while a clock is believed
STORE_BYTES = 80 << 20
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def measure(
    rows: int = ROWS, ray_python: Path | str = sys.executable, texts: Path | None = None, said: str | None = None
) -> dict[str, Any]:
    """Every arm once, one after the other.

    Args:
        rows: how many texts at most.
        ray_python: the interpreter of an environment that has Ray.
        texts: a file of JSON Lines of documents, each with an id.
        said: what the texts are, for who reads the figures.
    """
    with TemporaryDirectory(prefix="perwatt-jobs-") as folder:
        count, size = take(Path(folder, "docs.jsonl"), rows, texts)
        programs = {name: [sys.executable] for name in ARMS} | {"ray": ["unshare", "--net", str(ray_python)]}
        took = {}
        for arm in ARMS:
            command = [*programs[arm], "-m", "deploy.jobs.bench", arm, folder]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            took[arm] = json.loads(done.stdout.splitlines()[-1])
    said = said or ("docstrings" if texts is None else f"texts of {texts.name}")
    about = {"rows": count, "bytes": size, "texts": said, "shards": SHARDS, "nodes": NODES, "cores": os.cpu_count()}
    return {**about, "took": took}


def arm(how: str, folder: Path) -> dict[str, Any]:
    """Does the whole job in one way."""
    from deploy.jobs.run import run
    from deploy.jobs.tally import JobDisplay

    job = _planned(folder / "docs.jsonl", folder / how)
    with _workers(how, job) as workers:
        start_s, spent_s, before_s = time.perf_counter(), spent(), busy_s()
        run(job, workers, display=JobDisplay(sys.stderr))
        wall_s, cpu_s = time.perf_counter() - start_s, spent() - spent_s
        others = max(0.0, busy_s() - before_s - cpu_s) / wall_s / (os.cpu_count() or 1)
    tasks = sum(job.tasks(stage) for stage in ("embed", "build", "measure", "publish"))
    return {"wall_s": round(wall_s, 2), "cpu_s": round(cpu_s, 2), "others": round(others, 3), "tasks": tasks}


def spent() -> float:
    """Seconds of processor time of this process and of all below it, those that have ended among them."""
    times = os.times()
    total, below = sum(times[:4]), defaultdict(list)
    found: dict[int, float] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(") ")[2].split()
            except OSError:  # has ended meanwhile
                continue
            below[int(fields[1])].append(int(entry.name))
            found[int(entry.name)] = sum(map(int, fields[11:15])) * _TICK_S
    waiting = list(below[os.getpid()])
    while waiting:
        pid = waiting.pop()
        total += found[pid]
        waiting += below[pid]
    return total


def take(path: Path, rows: int, texts: Path | None = None) -> tuple[int, int]:
    """Writes the first rows of `texts`, or of the docstrings of what is installed, as JSON Lines; how many there are,
    and their bytes."""
    count = 0
    with path.open("w", encoding="utf-8") as opened:
        for line in islice(_docstrings() if texts is None else _lines(texts), rows):
            opened.write(f"{line}\n")
            count += 1
    return count, path.stat().st_size


def _lines(texts: Path) -> Iterator[str]:
    with texts.open(encoding="utf-8") as opened:
        yield from (line.rstrip("\n") for line in opened)


def _docstrings() -> Iterator[str]:
    from embed.documents.docstrings import read_docstrings
    from embed.documents.document import DocumentSource

    seen = set[str]()
    for document in read_docstrings(DocumentSource("python:all", "python")):
        if document.id not in seen:
            seen.add(document.id)
            yield json.dumps({"id": document.id, "title": document.title, "text": document.text})


def _planned(documents: Path, folder: Path) -> Job:
    from deploy.jobs.cli import plan
    from deploy.jobs.plan import Job

    words = [str(documents), "--index=docs", f"--shards={SHARDS}", f"--root={folder / 'indexes'}"]
    words += [f"--job={folder / 'job'}", "--family=graph"]
    plan.main(words, standalone_mode=False)
    return Job(folder / "job")


@contextmanager
def _workers(how: str, job: Job) -> Iterator[Workers]:
    from deploy.jobs.processes import Processes

    if how == "here":
        yield OneByOne(job)
    elif how == "processes":
        with closing(Processes(job, os.cpu_count() or 1, 1)) as processes:
            yield processes
    else:
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # before a node starts
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)  # in a network of its own
        from ray.cluster_utils import Cluster

        from deploy.jobs.ray_cluster import RayWorkers

        head = {"num_cpus": 0, "include_dashboard": False, "object_store_memory": STORE_BYTES}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        try:
            for _ in range(NODES):
                cluster.add_node(num_cpus=1, object_store_memory=STORE_BYTES)
            cluster.wait_for_nodes()
            with closing(RayWorkers(job, 1, cluster.address)) as workers:
                yield workers
        finally:
            cluster.shutdown()


class OneByOne:
    """One worker: this process."""

    at_once, cores = 1, 1.0

    def __init__(self, job: Job) -> None:
        self._job, self._done = job, list[int]()

    def start(self, stage: str, task: int) -> None:
        from deploy.jobs.work import work

        work(self._job.place.where, stage, task, 1)
        self._done.append(task)

    def ended(self, _timeout_s: float) -> list[Any]:
        from deploy.jobs.attempts import TaskAttempt

        done, self._done = self._done, []
        return [TaskAttempt(task, 0) for task in done]

    def close(self) -> None:
        pass


if __name__ == "__main__":
    os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)
    told, sys.stdout = sys.stdout, io.TextIOWrapper(sys.stderr.buffer, line_buffering=True)
    print(json.dumps(arm(sys.argv[1], Path(sys.argv[2]))), file=told)
