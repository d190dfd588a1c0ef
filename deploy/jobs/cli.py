"""`perwatt plan`, `work` and `publish`: the steps of a job, each a command of its own."""

from __future__ import annotations

import json
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from embed.options import MODEL, READING, check_model, check_reading, options
from index.backup.address import is_address
from index.disk.root import DEFAULT_ROOT
from index.options import CHECKS, STRUCTURE, json_option

if TYPE_CHECKING:
    from deploy.jobs.plan import Job


class FolderOrStore(click.Path):
    """A folder, as a path; or an address of a store, as it was given."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return value.rstrip("/") if is_address(value) else super().convert(value, param, ctx)


PLANNED = (
    click.option("--index", "name", metavar="NAME", required=True, help="Index to build a sharded generation of."),
    click.option(
        "--root",
        type=FolderOrStore(path_type=Path, file_okay=False),
        default=DEFAULT_ROOT,
        show_default=True,
        metavar="DIR|s3://…",
        help="Folder of the indexes; or of a store, where `perwatt pull` finds what was built.",
    ),
    click.option("--shards", type=click.IntRange(1, 1024), metavar="S", required=True, help="How many shards."),
    click.option(
        "--job",
        "folder",
        type=FolderOrStore(path_type=Path, file_okay=False),
        metavar="DIR|s3://…",
        help="Folder of the job, which every worker reads and writes.  [default: jobs/NAME; ROOT/NAME.job in a store]",
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
    click.option(
        "--sparse",
        metavar="FOLDER|NAME|none",
        help="A learned sparse model that weighs the documents too, as with `perwatt build`.  [default: that of the "
        "served generation, where the indexes are in a folder; else none]",
    ),
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
    type=FolderOrStore(path_type=Path, file_okay=False, exists=True),
    metavar="DIR|s3://…",
    required=True,
    help="Folder of the job, as it was planned.",
)
threads_option = click.option("--threads", type=click.IntRange(1), help="Default: every core of the cgroup.")


@click.command()
@click.argument("inputs", metavar="INPUT...", nargs=-1, required=True)
@options(PLANNED)
@json_option
def plan(inputs: tuple[str, ...], as_json: bool, **given: Any) -> None:
    """Plan a job: cut INPUT into fragments, and say which shard every document belongs to.

    INPUT is a file or folder of JSON Lines, CSV, TSV or Parquet, or a glob, as `perwatt embed` takes it; or the same in
    a store, as s3://BUCKET/FOLDER. The plan is one file in the folder of the job; a plan of the same inputs and
    settings that is not published yet stays as it is.
    """
    job, _ = planned_job(inputs, given)
    with closing(job):
        if as_json:
            made = {key: getattr(job.plan, key) for key in ("id", "index", "generation", "shards")}
            click.echo(json.dumps({"job": job.place.where, **made, "fragments": job.tasks("embed")}))
            return
        click.echo(said(job))


@click.command()
@click.argument("stage", type=click.Choice(["embed", "build", "measure"]))
@job_option
@click.option("--task", type=click.IntRange(0), envvar="JOB_COMPLETION_INDEX", required=True, help="Which one, from 0.")
@threads_option
@click.option("--parent", type=int, hidden=True)
def work(stage: str, folder: Path | str, task: int, threads: int | None, parent: int | None) -> None:
    """Do one task of a job: embed a fragment, build a shard, or measure one.

    What is done already is not done again. Exit status 42 says that the input is at fault, and another try of no use.
    Inside a pod of an Indexed Job of Kubernetes, the task is the pod's.
    """
    _do(folder, stage, task, threads, parent)


@click.command()
@job_option
@threads_option
@click.option("--parent", type=int, hidden=True)
def publish(folder: Path | str, threads: int | None, parent: int | None) -> None:
    """Check all shards of a job, make them one generation, and serve it when its checks pass."""
    _do(folder, "publish", 0, threads, parent)


def planned_job(inputs: tuple[str, ...], given: dict[str, Any]) -> tuple[Job, bool]:
    from embed.vectors.scratch import scratch_folder

    with scratch_folder() as outlines:
        return _planned(inputs, given, outlines)


def _planned(inputs: tuple[str, ...], given: dict[str, Any], outlines: Path) -> tuple[Job, bool]:
    from deploy.jobs.inputs import job_sources
    from deploy.jobs.plan import JobBuilding, JobModel, JobReading, JobSettings, make_plan
    from embed.documents.document import NoSuchInputError
    from embed.models.fingerprint import REMOTE
    from embed.opening import open_encoder

    def some(kind: Any) -> Any:
        return kind(**{name: given[name] for name in kind.__struct_fields__})

    where = place_of(given)
    check_reading(given["id_field"], given["number_rows"], given["chunk_tokens"], given["chunk_overlap"])
    check_model(*(given[name] for name in ("encoder", "precision", "backend", "query_prefix", "document_prefix")))
    try:
        sources = job_sources(inputs, given["format"], given["separator"], outlines)
    except NoSuchInputError as error:
        raise click.UsageError(str(error)) from error
    wanted = some(JobModel)
    with closing(open_encoder(**{name: given[name] for name in JobModel.__struct_fields__}, threads=1)) as encoder:
        fingerprint = encoder.fingerprint
    if fingerprint.precision != REMOTE:  # what this machine chose, every worker must take
        given["precision"] = fingerprint.precision
        wanted = some(JobModel)
    given["sparse"] = _sparse(given)
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
    return make_plan(where, sources, settings)


def _sparse(given: dict[str, Any]) -> tuple[str, str] | None:
    """Where every worker finds the model that weighs the documents, and its id; None for no weights. Raises ModelError
    where it is not to be had."""
    from embed.sparse.encoder import sparse_of_build
    from index.build.rows.models import NO_SPARSE, sparse_in_served

    served = None if is_address(given["root"]) else sparse_in_served(given["root"], given["name"])
    wanted = given["sparse"] or served
    if wanted is None or wanted == NO_SPARSE:
        return None
    with closing(sparse_of_build(wanted, 1, served=given["sparse"] is None)) as model:
        return model.given, model.described["id"]


def place_of(given: dict[str, Any]) -> Path | str:
    """Where a job is kept. Raises UsageError where that does not go with the rest of the options."""
    root, name = given["root"], given["name"]
    where: Path | str | None = given["folder"]
    if where is None:
        where = f"{root}/{name}.job" if is_address(root) else Path("jobs") / name
    if is_address(root) != is_address(where):
        raise click.UsageError("--job and --root are both folders, or both in a store")
    if is_address(root):
        for option in ("no_switch", "drop_changes", "max_slowdown"):
            if given[option]:
                raise click.UsageError(
                    f"--{option.replace('_', '-')} is about a folder of indexes; what is in a store is served by who "
                    "pulls it"
                )
    return where


def _do(folder: Path | str, stage: str, task: int, threads: int | None, parent: int | None) -> None:
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
        f"{job.place.where}: {tasks:,} fragment{'' if tasks == 1 else 's'} of {plan.fingerprint['name']} in "
        f"{plan.fingerprint['precision']}, for {plan.shards} shards of {plan.generation}"
    )
