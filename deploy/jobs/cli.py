"""`perwatt plan`, `work` and `publish`: the steps of a job, each a command of its own."""

from __future__ import annotations

import json
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from embed.options import MODEL, READING, check_model, check_reading, options
from index.options import CHECKS, STRUCTURE, json_option, root_option

if TYPE_CHECKING:
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
    job, _ = planned_job(inputs, given)
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


def planned_job(inputs: tuple[str, ...], given: dict[str, Any]) -> tuple[Job, bool]:
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
