"""Workers that are tasks of a Ray cluster.

What goes through Ray is names: a task is told the place of the job, a stage and a number, and says how it ended. So
nothing of a size is in Ray's object store, nothing is spilled, and a node that is lost takes nothing with it but what
it was working on. Which task is tried again is decided here, as for any workers; Ray itself tries nothing twice.

Ray is imported by whoever asks for these workers, and its statistics of usage are off.
"""

from __future__ import annotations

import logging
import os
import time
from typing import Any

from deploy.errors import BadInputError, DeployError, JobError
from deploy.jobs.attempts import TaskAttempt
from deploy.jobs.plan import Job
from deploy.jobs.work import BAD_INPUT, work
from embed.errors import EmbedError
from index.backup.address import is_address
from index.disk.files import storage_failure
from index.errors import IndexingError

LOST, FAILED = -1, 1


def attempt(where: str, stage: str, task: int, threads: int) -> tuple[int, str]:
    """Does a task inside of a worker of Ray: its status, and what there is to say of it."""
    try:
        work(where, stage, task, threads)
    except BadInputError as error:
        return BAD_INPUT, str(error)
    except (EmbedError, IndexingError, DeployError) as error:
        return FAILED, str(error)
    except OSError as error:
        return FAILED, storage_failure(error) or f"{type(error).__name__}: {error}"
    return 0, ""


class RayWorkers:
    """
    Args:
        threads: that a task keeps for itself: of Ray's resource CPU as many.
        address: of the cluster; by default the one of RAY_ADDRESS, or that runs here, or one that is started here.
    """

    def __init__(self, job: Job, threads: int, address: str | None = None) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            import ray
            from ray.exceptions import RayError
        except ImportError:
            raise JobError("--on ray needs Ray in every worker's environment: pip install 'perwatt[ray]'") from None
        try:
            ray.init(
                address,
                log_to_driver=False,
                logging_level=logging.WARNING,
                include_dashboard=False if address is None else None,
            )
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise JobError(f"the Ray cluster at {address or 'this machine'} cannot be used: {error}") from error
        self.cores, self._threads, self._ray, self._lost = float(threads), threads, ray, RayError
        self._where = job.place.where if is_address(job.place.where) else str(job.folder.absolute())
        self._task = ray.remote(num_cpus=threads, max_retries=0)(attempt)
        self._running: dict[Any, int] = {}

    @property
    def at_once(self) -> int:
        """As many as the nodes that there are now have room for."""
        return max(1, int(self._ray.cluster_resources().get("CPU", 0)) // self._threads)

    def start(self, stage: str, task: int) -> None:
        self._running[self._task.remote(self._where, stage, task, self._threads)] = task

    def ended(self, timeout_s: float) -> list[TaskAttempt]:
        if not self._running:
            time.sleep(timeout_s)
            return []
        done, _ = self._ray.wait(list(self._running), num_returns=1, timeout=timeout_s)
        return [self._attempt(each, self._running.pop(each)) for each in done]

    def close(self) -> None:
        for each in self._running:
            self._ray.cancel(each, force=True)
        self._ray.shutdown()

    def _attempt(self, result: Any, task: int) -> TaskAttempt:
        try:
            status, said = self._ray.get(result)
        except self._lost as error:
            return TaskAttempt(task, LOST, " ".join(str(error).split())[:500])
        return TaskAttempt(task, status, said)
