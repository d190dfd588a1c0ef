"""A stage of a job by attempts: started while there is room, begun again where a worker was lost, given up in the end.

A worker that was lost (killed, out of memory, its node gone) says nothing about its task, so that is tried again, at
once the first time and then after growing pauses. One that says that the input is at fault (exit status 42) is
believed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

import msgspec

from deploy.jobs.tally import Tally
from deploy.jobs.work import BAD_INPUT

LOOK_EVERY_S = 0.5
PAUSES_S = (0.0, 1.0, 5.0)  # before the second attempt and those after it


class TaskAttempt(msgspec.Struct):
    """How one ended. said: the last words of a worker that failed."""

    task: int
    status: int
    said: str = ""


class Workers(Protocol):
    """What can run attempts: processes here, or a cluster."""

    cores: float  # that an attempt keeps for itself

    @property
    def at_once(self) -> int: ...

    def start(self, stage: str, task: int) -> None: ...

    def ended(self, timeout_s: float) -> list[TaskAttempt]:
        """Attempts that have ended since it was asked last; waits for the first, up to that long."""

    def close(self) -> None:
        """Ends what is running."""


def run_stage(workers: Workers, tally: Tally, most_failed: int, show: Callable[[Tally], None]) -> None:
    """Does the tasks of a stage. Once more than `most_failed` have failed, no others are started."""
    waiting = [(0.0, task) for task in tally.weights]  # with the time that it may start at
    attempts = dict.fromkeys(tally.weights, 0)
    while waiting or tally.running:
        now = time.monotonic()
        ready = [each for each in waiting if each[0] <= now]
        for each in ready[: workers.at_once - tally.running]:
            waiting.remove(each)
            tally.begin(each[1])
            workers.start(tally.stage, each[1])
        if not tally.running:
            time.sleep(max(0.0, min(since for since, _ in waiting) - time.monotonic()))
            continue
        for attempt in workers.ended(LOOK_EVERY_S):
            task = attempt.task
            tally.end(task)
            if attempt.status == 0:
                tally.done.add(task)
            elif attempt.status == BAD_INPUT:
                tally.failed[task] = tally.bad[task] = attempt.said
            elif attempts[task] == len(PAUSES_S):
                tally.failed[task] = attempt.said
            else:
                waiting.append((time.monotonic() + PAUSES_S[attempts[task]], task))
                attempts[task] += 1
                tally.retried += 1
        if len(tally.failed) > most_failed:
            waiting.clear()
        show(tally)
