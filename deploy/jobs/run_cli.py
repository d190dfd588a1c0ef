"""`perwatt job run`: all steps of a job, by whatever workers there are."""

from __future__ import annotations

import sys
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from deploy.jobs.cli import PLANNED, place_of, planned_job, said
from embed.options import options
from index.backup.address import is_address

if TYPE_CHECKING:
    from deploy.jobs.attempts import Workers
    from deploy.jobs.plan import Job

PODS = 10  # at once, unless it is said


@click.group()
def job() -> None:
    """Build an index in shards by many workers, from documents to what is served."""


@job.command()
@click.argument("inputs", metavar="INPUT...", nargs=-1, required=True)
@click.option(
    "--on",
    type=click.Choice(["processes", "ray", "kubernetes"]),
    default="processes",
    show_default=True,
    help="What the workers run on: processes of this machine, tasks of a Ray cluster, or pods.",
)
@options(PLANNED)
@click.option("--workers", type=click.IntRange(1), help="Processes or pods at once.  [default: one for each core; 10]")
@click.option(
    "--threads",
    type=click.IntRange(1),
    help="Threads of each worker.  [default: cores / workers; on Ray and Kubernetes 1]",
)
@click.option(
    "--address",
    metavar="ADDRESS",
    help="Of the Ray cluster.  [default: RAY_ADDRESS, or the one that runs here, or one that is started here]",
)
@click.option("--release", metavar="NAME", help="Release of the chart, with --on kubernetes.  [default: perwatt]")
@click.option("--namespace", metavar="NAME", help="Of that release.  [default: that of the context]")
@click.option(
    "--values",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    multiple=True,
    metavar="FILE",
    help="Values that the release was installed with. Repeatable.",
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
    release: str | None,
    namespace: str | None,
    values: tuple[Path, ...],
    usd_per_core_hour: float | None,
    most_failed: int,
    **given: Any,
) -> None:
    """Embed and build INPUT in shards, and serve the result when its checks pass.

    A worker that is lost costs what it was working on, and the result is the same. Given again, the command goes on
    where it was.
    """
    from deploy.errors import BadInputError
    from deploy.jobs.kubernetes import Kubernetes
    from deploy.jobs.run import run as run_job
    from deploy.jobs.tally import JobDisplay
    from deploy.jobs.work import BAD_INPUT
    from embed.stopping import stoppable

    if on != "ray" and address:
        raise click.UsageError("--address is of a Ray cluster; it goes with --on ray")
    if on == "ray" and workers:
        raise click.UsageError("--workers is of processes; on Ray there are as many as the cluster has room for")
    if on != "kubernetes" and (release or namespace or values):
        raise click.UsageError("--release, --namespace and --values go with --on kubernetes")
    display = JobDisplay()
    try:
        with ExitStack() as opened:
            opened.enter_context(stoppable(lambda number: sys.exit(128 + number)))
            opened.callback(display.close)
            if on == "kubernetes":
                job = {
                    "run": datetime.now(UTC).strftime("%y%m%d%H%M%S"),
                    "index": given["name"],
                    "shards": given["shards"],
                    "inputs": inputs,
                    **({"store": given["root"]} if is_address(place_of(given)) else {}),
                    "arguments": _again(given),
                    "parallelism": workers or PODS,
                    "threads": threads or 1,
                    "mostFailed": most_failed,
                }
                pods = Kubernetes(release or "perwatt", namespace, values, job)
                place = f"in {given['root']}" if is_address(given["root"]) else "on the claim of the indexes"
                made, spent = pods.run(display=display, cores=threads or 1, usd_per_core_hour=usd_per_core_hour)
                done = f"{made.generation} in {made.shards} shards{_cost(spent)} is {place}"
            else:
                planned, _ = planned_job(inputs, given)
                opened.enter_context(closing(planned))
                display.say(said(planned))
                started = opened.enter_context(closing(_workers(on, planned, workers, threads, address)))
                spent = run_job(
                    planned, started, display=display, usd_per_core_hour=usd_per_core_hour, most_failed=most_failed
                )
                done = published(planned, spent)
    except BadInputError as error:
        click.echo(f"perwatt: error: {error}", err=True)
        sys.exit(BAD_INPUT)
    click.echo(done)


def _again(given: dict[str, Any]) -> list[str]:
    """The options that a plan in the cluster is to be given: those of this command line, but where things are."""
    context, words = click.get_current_context(), []
    for param in context.command.params:
        name = param.name or ""
        typed = context.get_parameter_source(name) is ParameterSource.COMMANDLINE
        if typed and (name == "folder" or (name == "root" and not is_address(given[name]))):
            raise click.UsageError(f"{param.opts[0]} is where the chart mounts it, with --on kubernetes")
        if name not in given or name in ("name", "shards", "root", "folder") or not typed:
            continue
        value = given[name]
        if isinstance(param, click.Option) and param.is_flag:
            words.append(param.opts[0] if value else param.secondary_opts[0])
        else:
            words += [f"{param.opts[0]}={each}" for each in (value if isinstance(value, tuple) else (value,))]
    return words


def _workers(on: str, job: Job, workers: int | None, threads: int | None, address: str | None) -> Workers:
    from index import machine

    if on == "ray":
        from deploy.jobs.ray_cluster import RayWorkers

        return RayWorkers(job, threads or 1, address)
    from deploy.jobs.processes import Processes

    at_once = workers or machine.cores()
    return Processes(job, at_once, threads or max(1, machine.cores() // at_once))


def _cost(spent: float | None) -> str:
    return "" if spent is None else f" for ${spent:,.4f}"


def published(job: Job, spent: float | None) -> str:
    """What a job has made, what it took, and what comes next."""
    plan, content = job.plan, job.published()
    assert content is not None  # the last stage is done
    recall = content["recall"]
    effort = "" if recall["effort"] is None else f" at effort {recall['effort']}"
    lines = [
        f"{plan.generation}: {content['count']:,} documents in {plan.shards} shards{_cost(spent)}; recall@"
        f"{recall['k']} through all of them {recall['recall']:.4f}{effort} (95 %: {recall['low']:.4f} to "
        f"{recall['high']:.4f})"
    ]
    if is_address(plan.root):
        lines += [f"Next: perwatt pull {plan.index} {plan.root} --switch"]
    elif plan.switch:
        roots = [job.index.root_of(number, plan.shards) for number in range(plan.shards)]
        lines += ["It is served. Next:"]
        lines += [
            f"  perwatt serve --root {root.folder} --port {8001 + number} &" for number, root in enumerate(roots[:8])
        ]
        lines += ["  …"] if len(roots) > 8 else []
        lines += [
            "  perwatt route " + " ".join(f"--shard http://127.0.0.1:{8001 + number}" for number in range(len(roots)))
        ]
    return "\n".join(lines)
