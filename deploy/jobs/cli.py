"""`perwatt plan`, `work`, `publish` and `job`: an index in shards, built by many workers."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from embed.options import MODEL, READING, check_model, check_reading, options
from index.options import CHECKS, STRUCTURE, json_option, root_option

if TYPE_CHECKING:
    from deploy.jobs.attempts import Workers
    from deploy.jobs.plan import Job

PLANNED = (
    click.option("--index", "name", metavar="NAME", required=True, help="Index to build a sharded generation of."),
    root_option,
    click.option("--shards", type=click.IntRange(1, 1024), metavar="S", required=True, help="How many shards."),
    click.option(
        "--job",
        "folder",
        type=click.Path(path_type=Path, file_okay=False),
        metavar="DIR",
        help="Folder of the job, which every worker reads and writes.  [default: jobs/NAME]",
    ),
    *READING,
    *MODEL,
    click.option(
        "--embedded-from",
        type=click.Path(path_type=Path, exists=True, file_okay=False),
        multiple=True,
        metavar="DIR",
        help="A vectors folder: a text embedded there by this model is not embedded again. Repeatable.",
    ),
    *STRUCTURE,
    *CHECKS,
    click.option("--drop-changes", is_flag=True, help="Forget what was written to the index, instead of adding it."),
    click.option("--no-switch", is_flag=True, help="Build only; what is served stays."),
    click.option(
        "--fragment-mb",
        type=click.FloatRange(min=0, min_open=True),
        metavar="MB",
        help="Input of a task of the first stage.  [default: 4 to 64, for up to 64 tasks]",
    ),
)
job_option = click.option(
    "--job",
    "folder",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    metavar="DIR",
    required=True,
    help="Folder of the job.",
)
threads_option = click.option("--threads", type=click.IntRange(1), help="Default: every core of the cgroup.")


@click.command()
@click.argument("inputs", metavar="INPUT...", nargs=-1, required=True)
@options(PLANNED)
@json_option
def plan(inputs: tuple[str, ...], as_json: bool, **given: Any) -> None:
    """Plan a job: cut INPUT into fragments, and say which shard every document belongs to.

    INPUT is a file or folder of JSON Lines, CSV, TSV or Parquet, or a glob, as `perwatt embed` takes it. The plan is
    one file in the folder of the job; a plan of the same inputs and settings that is not published yet stays as it is.
    """
    job, _ = _planned(inputs, given)
    if as_json:
        made = {key: getattr(job.plan, key) for key in ("id", "index", "generation", "shards")}
        click.echo(json.dumps({"job": str(job.folder), **made, "fragments": job.tasks("embed")}))
        return
    click.echo(said(job))


@click.command()
@click.argument("stage", type=click.Choice(["embed", "build", "measure"]))
@job_option
@click.option("--task", type=click.IntRange(0), envvar="JOB_COMPLETION_INDEX", required=True, help="Which one, from 0.")
@threads_option
@click.option("--parent", type=int, hidden=True)
def work(stage: str, folder: Path, task: int, threads: int | None, parent: int | None) -> None:
    """Do one task of a job: embed a fragment, build a shard, or measure one.

    What is done already is not done again. Exit status 42 says that the input is at fault, and another try of no use.
    Inside a pod of an Indexed Job of Kubernetes, the task is the pod's.
    """
    _do(folder, stage, task, threads, parent)


@click.command()
@job_option
@threads_option
@click.option("--parent", type=int, hidden=True)
def publish(folder: Path, threads: int | None, parent: int | None) -> None:
    """Check all shards of a job, make them one generation, and serve it when its checks pass."""
    _do(folder, "publish", 0, threads, parent)


@click.group()
def job() -> None:
    """Build an index in shards by many workers, from documents to what is served."""


@job.command()
@click.argument("inputs", metavar="INPUT...", nargs=-1, required=True)
@click.option(
    "--on",
    type=click.Choice(["processes", "ray"]),
    default="processes",
    show_default=True,
    help="What the workers run on: processes of this machine, or tasks of a Ray cluster.",
)
@options(PLANNED)
@click.option("--workers", type=click.IntRange(1), help="Processes at once.  [default: one for each core]")
@click.option("--threads", type=click.IntRange(1), help="Threads of each worker.  [default: cores / workers; on Ray 1]")
@click.option(
    "--address",
    metavar="ADDRESS",
    help="Of the Ray cluster.  [default: RAY_ADDRESS, or the one that runs here, or one that is started here]",
)
@click.option(
    "--usd-per-core-hour", type=click.FloatRange(min=0), metavar="USD", help="Shows what the job has cost so far."
)
@click.option(
    "--most-failed",
    type=click.IntRange(0),
    default=10,
    show_default=True,
    help="Tasks of a stage that may fail before no others are started.",
)
def run(
    inputs: tuple[str, ...],
    on: str,
    workers: int | None,
    threads: int | None,
    address: str | None,
    usd_per_core_hour: float | None,
    most_failed: int,
    **given: Any,
) -> None:
    """Embed and build INPUT in shards, and serve the result when its checks pass.

    A worker that is lost costs what it was working on, and the result is the same. Given again, the command goes on
    where it was.
    """
    from deploy.errors import BadInputError
    from deploy.jobs.run import run as run_job
    from deploy.jobs.tally import JobDisplay
    from deploy.jobs.work import BAD_INPUT
    from embed.stopping import stoppable

    planned, _ = _planned(inputs, given)
    click.echo(said(planned), err=True)
    if on == "processes" and address:
        raise click.UsageError("--address is of a Ray cluster; it goes with --on ray")
    if on == "ray" and workers:
        raise click.UsageError("--workers is of processes; on Ray there are as many as the cluster has room for")
    started = _workers(on, planned, workers, threads, address)
    display = JobDisplay()
    try:
        with stoppable(lambda number: sys.exit(128 + number)):
            spent = run_job(
                planned,
                started,
                display=display,
                usd_per_core_hour=usd_per_core_hour,
                most_failed=most_failed,
            )
    except BadInputError as error:
        click.echo(f"perwatt: error: {error}", err=True)
        sys.exit(BAD_INPUT)
    finally:
        started.close()
        display.close()
    click.echo(published(planned, spent))


def _workers(on: str, job: Job, workers: int | None, threads: int | None, address: str | None) -> Workers:
    from index import machine

    if on == "ray":
        from deploy.jobs.ray_cluster import RayWorkers

        return RayWorkers(job, threads or 1, address)
    from deploy.jobs.processes import Processes

    at_once = workers or machine.cores()
    return Processes(job, at_once, threads or max(1, machine.cores() // at_once))


def _planned(inputs: tuple[str, ...], given: dict[str, Any]) -> tuple[Job, bool]:
    from contextlib import closing

    from deploy.jobs.plan import JobBuilding, JobModel, JobReading, JobSettings, make_plan
    from embed.documents.document import NoSuchInputError
    from embed.documents.inputs import find_sources
    from embed.models.fingerprint import REMOTE
    from embed.opening import open_encoder

    def some(kind: Any) -> Any:
        return kind(**{name: given[name] for name in kind.__struct_fields__})

    check_reading(given["id_field"], given["number_rows"], given["chunk_tokens"], given["chunk_overlap"])
    check_model(*(given[name] for name in ("encoder", "precision", "backend", "query_prefix", "document_prefix")))
    try:
        sources = find_sources(inputs, given["format"], given["separator"])
    except NoSuchInputError as error:
        raise click.UsageError(str(error)) from error
    wanted = some(JobModel)
    with closing(open_encoder(**{name: given[name] for name in JobModel.__struct_fields__}, threads=1)) as encoder:
        fingerprint = encoder.fingerprint
    if fingerprint.precision != REMOTE:  # what this machine chose, every worker must take
        given["precision"] = fingerprint.precision
        wanted = some(JobModel)
    settings = JobSettings(
        given["name"],
        given["root"],
        given["shards"],
        some(JobReading),
        wanted,
        fingerprint,
        some(JobBuilding),
        given["embedded_from"],
        not given["no_switch"],
        int(given["fragment_mb"] * 1e6) if given["fragment_mb"] else None,
    )
    return make_plan(given["folder"] or Path("jobs") / given["name"], sources, settings)


def _do(folder: Path, stage: str, task: int, threads: int | None, parent: int | None) -> None:
    from deploy.errors import BadInputError
    from deploy.jobs.work import BAD_INPUT, end_with
    from deploy.jobs.work import work as do

    if parent is not None:
        end_with(parent)
    try:
        click.echo(json.dumps(do(folder, stage, task, threads)))
    except BadInputError as error:
        click.echo(f"perwatt: error: {error}", err=True)
        sys.exit(BAD_INPUT)


def said(job: Job) -> str:
    """What a plan is, in a sentence."""
    plan, tasks = job.plan, job.tasks("embed")
    return (
        f"{job.folder}: {tasks:,} fragment{'' if tasks == 1 else 's'} of {plan.fingerprint['name']} in "
        f"{plan.fingerprint['precision']}, for {plan.shards} shards of {plan.generation}"
    )


def published(job: Job, spent: float | None) -> str:
    """What a job has made, what it took, and what comes next."""
    plan, content = job.plan, job.index.generation(job.plan.generation).content
    recall = content["recall"]
    cost = "" if spent is None else f" for ${spent:,.4f}"
    lines = [
        f"{plan.generation}: {content['count']:,} documents in {plan.shards} shards{cost}; recall@{recall['k']} "
        f"through all of them {recall['recall']:.4f} (95 %: {recall['low']:.4f} to {recall['high']:.4f})"
    ]
    if plan.switch:
        roots = job.index.generation(plan.generation).roots
        lines += ["It is served. Next:"]
        lines += [
            f"  perwatt serve --root {root.folder} --port {8001 + number} &" for number, root in enumerate(roots[:8])
        ]
        lines += ["  …"] if len(roots) > 8 else []
        lines += [
            "  perwatt route " + " ".join(f"--shard http://127.0.0.1:{8001 + number}" for number in range(len(roots)))
        ]
    return "\n".join(lines)
