"""Jobs of perwatt in processes of their own, some of which kill themselves, and what came out of them."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from click.testing import CliRunner
from conftest import write_jsonl
from warm import shared

from deploy.command import perwatt
from deploy.errors import BadInputError, JobError
from deploy.jobs.attempts import TaskAttempt
from deploy.jobs.plan import Job
from deploy.jobs.processes import Processes
from deploy.jobs.run import run
from deploy.jobs.tally import JobDisplay
from deploy.jobs.work import BAD_INPUT, work
from embed.errors import EmbedError
from index.errors import IndexingError

# Runs `perwatt`, and kills itself just before it renames something to a path that MARK is in.
KILLS_ITSELF = """
import os, signal, sys

def watch(event, arguments):
    if event == "os.rename" and MARK in str(arguments[1]):
        os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(watch)
from deploy.command import main
main()
"""


def documents(path: Path, count: int = 240) -> Path:
    """Of a few hundred characters each."""
    words = [
        "alpha",
        "beta",
        "gamma",
        "delta",
        "search",
        "index",
        "vector",
        "shard",
        "rye",
        "bread",
        "cost",
        "watt",
        "query",
        "key",
    ]
    rows = [
        {
            "id": f"d{number}",
            "title": f"Title {number}",
            "text": " ".join(words[(number * each) % len(words)] for each in range(1, 3 + number % 30)),
            "year": 1990 + number % 7,
        }
        for number in range(count)
    ]
    return write_jsonl(path, rows)


def planned(docs: Path | str, folder: Path | str, encoder: str, *words: object) -> Job:
    """A job below `folder`, or with its indexes in a store, with fragments of ten kilobytes."""
    places = ["--root", folder] if isinstance(folder, str) else ["--root", folder / "i", "--job", folder / "j"]
    given = [docs, "--index", "docs", *places, "--encoder", encoder, "--fragment-mb", "0.01", *words]
    ran = CliRunner().invoke(perwatt, ["plan", *map(str, given), "--json"], catch_exceptions=False)
    assert ran.exit_code == 0, ran.output
    return Job(json.loads(ran.stdout)["job"])


class InThread:
    """What `Processes` starts for tasks that nobody kills: the same step, in a thread of this process."""

    returncode = 0

    def __init__(self, where: str, stage: str, task: int) -> None:
        self._work = lambda: work(where, stage, task, 1)

    def communicate(self) -> tuple[str, str]:
        self._work()
        return "", ""

    def kill(self) -> None:
        pass


class Killing:
    """Starts workers for `Processes`; the first of each task in `marks` is a process that kills itself there."""

    def __init__(self, marks: dict[tuple[str, str], str]) -> None:
        self.marks = dict(marks)
        self.started: list[str] = []

    def __call__(self, words: Sequence[str]) -> Any:
        given = dict(word.split("=") for word in words if word.startswith("--"))
        stage, task = words[0] if words[0] == "publish" else words[1], given.get("--task", "0")
        self.started.append(f"{stage} {task}")
        mark = self.marks.pop((stage, task), None)
        if mark is None:
            return InThread(given["--job"], stage, int(task))
        words = [word for word in words if not word.startswith("--parent=")]  # a fork has another parent
        return shared().start(words, program=f"MARK = {mark!r}\n{KILLS_ITSELF}")


def ran(job: Job, start: Killing, **settings: Any) -> list[str]:
    """Runs a job; what it said."""
    said = io.StringIO()
    workers = Processes(job, 2, 1, start)
    try:
        run(job, workers, display=JobDisplay(said), **settings)
    finally:
        workers.close()
    return said.getvalue().splitlines()


def made(folder: Path) -> dict[str, Any]:
    """Of each shard below `folder` the files with their hashes, and the manifest but for id, time and cost."""
    passing = {"created_at", "build", "sha256", "generation"}
    found = {}
    for path in sorted(folder.glob("i/*.shards/*-of-*/*/*/manifest.json")):
        manifest = json.loads(path.read_bytes())
        found[path.parts[-4]] = {key: value for key, value in manifest.items() if key not in passing}
    return found


class Here:
    """Workers that are this process, for what is not about workers."""

    at_once, cores = 1, 1.0

    def __init__(self, job: Job) -> None:
        self._job = job
        self._attempts: list[TaskAttempt] = []
        self.started: list[str] = []

    def start(self, stage: str, task: int) -> None:
        self.started.append(f"{stage} {task}")
        try:
            work(self._job.place.where, stage, task, 1)
            self._attempts.append(TaskAttempt(task, 0))
        except BadInputError as error:
            self._attempts.append(TaskAttempt(task, BAD_INPUT, str(error)))
        except (EmbedError, IndexingError, JobError) as error:
            self._attempts.append(TaskAttempt(task, 1, str(error)))

    def ended(self, _timeout_s: float) -> list[TaskAttempt]:
        ended, self._attempts = self._attempts, []
        return ended

    def close(self) -> None:
        pass


def ran_here(job: Job, **settings: Any) -> list[str]:
    """Runs a job in this process; which tasks were started."""
    workers = Here(job)
    run(job, workers, display=JobDisplay(io.StringIO()), **settings)
    return workers.started
