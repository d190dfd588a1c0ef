"""Drives a job: its stages one after the other, by whatever workers there are, to the generation that is served."""

from __future__ import annotations

from collections.abc import Callable

from deploy.errors import BadInputError, JobError
from deploy.jobs.attempts import Workers, run_stage
from deploy.jobs.plan import STAGES, Job
from deploy.jobs.tally import JobDisplay, Tally

SHOWN = 5  # failures that are told in full


def run(
    job: Job,
    workers: Workers,
    *,
    display: JobDisplay,
    usd_per_core_hour: float | None = None,
    most_failed: int = 0,
) -> float | None:
    """Does what of a job is not done yet; returns the dollars that it took, where an hour's price is known.

    Args:
        most_failed: tasks of a stage that may fail before no more are started.

    Raises BadInputError or JobError, which say what failed and how to go on.
    """
    spent = 0.0
    for stage in STAGES:
        to_do = job.to_do(stage)
        weights = {task: float(job.weight(stage, task)) for task in to_do}
        there = job.tasks(stage) - len(to_do)
        tally = Tally(stage, weights, there, workers.cores, usd_per_core_hour, spent)
        run_stage(workers, tally, most_failed, display.show)
        display.say(tally.line())
        spent = tally.usd or 0.0
        if tally.failed:
            raise failure(tally, job.about)
    return None if usd_per_core_hour is None else spent


def failure(tally: Tally, about: Callable[[str, int], str]) -> JobError:
    """What to raise for a stage in which something failed."""
    shown = [f"{about(tally.stage, task)}: {said}" for task, said in tally.failed.items()]
    lines = [f"{len(tally.failed)} of {tally.total} tasks of the stage {tally.stage} failed", *shown[:SHOWN]]
    lines += [f"… and {len(shown) - SHOWN} more"] if len(shown) > SHOWN else []
    what = "Mend the input" if tally.bad else "Mend that"
    lines.append(f"{what} and give the same command again: what is done is kept")
    kind = BadInputError if tally.bad else JobError
    return kind("\n  ".join(lines))
