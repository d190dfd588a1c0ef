"""Workers that are processes of this machine: each does one task by `perwatt work`, as a pod would, and ends."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

from deploy.jobs.attempts import TaskAttempt
from deploy.jobs.plan import Job

LAST_WORDS = 2000  # characters


def start_perwatt(words: Sequence[str]) -> Any:
    """`perwatt WORDS` in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "deploy.command", *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    )


class Processes:
    """
    Args:
        at_once: how many workers.
        threads: of each.
        start: starts a worker; it returns what has `pid`, `communicate`, `returncode` and `kill`.
    """

    def __init__(
        self, job: Job, at_once: int, threads: int, start: Callable[[Sequence[str]], Any] = start_perwatt
    ) -> None:
        self.at_once, self.cores, self._threads = at_once, float(threads), threads
        self._job, self._start = job, start
        self._pool = ThreadPoolExecutor(at_once, thread_name_prefix="worker")
        self._running: dict[Future[TaskAttempt], Any] = {}
        self._logs = job.folder / "logs"

    def start(self, stage: str, task: int) -> None:
        words = [*self._job.words(stage, task), f"--threads={self._threads}", f"--parent={os.getpid()}"]
        process = self._start(words)
        self._running[self._pool.submit(self._finish, process, stage, task)] = process

    def ended(self, timeout_s: float) -> list[TaskAttempt]:
        done = wait(self._running, timeout_s, FIRST_COMPLETED).done
        for each in done:
            del self._running[each]
        return [each.result() for each in done]

    def close(self) -> None:
        for process in self._running.values():
            process.kill()
        self._pool.shutdown()

    def _finish(self, process: Any, stage: str, task: int) -> TaskAttempt:
        _, said = process.communicate()
        status = int(process.returncode)
        if status < 0 or (status and not said):
            said += f"killed by signal {-status}" if status < 0 else f"ended with status {status} and no word"
        self._log(stage, task).write_text(said, encoding="utf-8")
        return TaskAttempt(task, status, said[-LAST_WORDS:].strip().rpartition("perwatt: error: ")[2])

    def _log(self, stage: str, task: int) -> Path:
        """Where the last words of a worker are kept."""
        self._logs.mkdir(exist_ok=True)
        return self._logs / f"{stage}-{task}.log"
