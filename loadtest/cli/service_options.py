"""The options of every command that loads a service, and what they come to: an `ExperimentConfig`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from loadtest.cli.options import POSITIVE, SECONDS, Finite
from loadtest.cli.question_options import QUESTION_OPTIONS

if TYPE_CHECKING:
    from loadtest.experiment.config import ExperimentConfig


def config_of(given: dict[str, Any]) -> ExperimentConfig:
    """given: what click read of `service_options`, by the names of the fields.

    Raises WorkloadError for CPUs that there are not.
    """
    from loadtest.experiment.config import ExperimentConfig, parse_cpus

    effort = given.pop("effort")
    if given["target"] == "perwatt" and not given["index"]:
        raise click.UsageError("Missing option '--index'.")
    return ExperimentConfig(
        effort=int(effort) if effort not in (None, "auto") else effort,
        generator_cpus=parse_cpus(given.pop("generator_cpus"), "--generator-cpus"),
        start_cpus=parse_cpus(given.pop("start_cpus"), "--start-cpus"),
        processes=_generators(given.pop("processes"), given.pop("expect_workers"), given["bind"]),
        **given,
    )


def _generators(here: int | None, elsewhere: int | None, bind: str | None) -> int:
    """How many send."""
    from loadtest.experiment.config import parse_place

    if (elsewhere is None) != (bind is None):
        raise click.UsageError("--expect-workers N and --bind HOST:PORT go together: N workers come to HOST:PORT.")
    if elsewhere is None or bind is None:
        return here or 1
    if here is not None:
        raise click.UsageError(
            "--generators are processes of this host, and --expect-workers come from others. To send from here too, "
            "start perwatt loadtest worker here as well."
        )
    parse_place(bind, "--bind")
    return elsewhere


def service_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """What every command that loads a service takes."""
    options = [
        *QUESTION_OPTIONS,
        click.option(
            "--generators",
            "--processes",
            "processes",
            default=None,
            type=click.IntRange(1, 512),
            show_default="1",
            help="Generator processes on this host, each of which sends an equal share.",
        ),
        click.option(
            "--expect-workers",
            default=None,
            type=click.IntRange(1, 512),
            metavar="N",
            help="Let N generators of other hosts send instead: perwatt loadtest worker there, and --bind here.",
        ),
        click.option(
            "--bind",
            default=None,
            metavar="HOST:PORT",
            help="Where those find this host. A calibration's server listens on the port after it.",
        ),
        click.option(
            "--slo-p99-ms",
            default=100.0,
            type=POSITIVE,
            show_default=True,
            help="Objective for p99 of the response time.",
        ),
        click.option(
            "--recall",
            "recall_target",
            type=Finite(0, 1, max_open=True),
            default=None,
            help="Recall@k that must be proven, below 1: no sample proves 1.",
        ),
        click.option(
            "--recall-queries",
            default=300,
            type=click.IntRange(0),
            show_default=True,
            help="Queries whose exact answers are fetched first.",
        ),
        click.option(
            "--max-in-flight",
            default=1024,
            type=click.IntRange(1),
            show_default=True,
            help="Connections of each process.",
        ),
        click.option(
            "--timeout",
            "timeout_s",
            default=10.0,
            show_default=True,
            type=POSITIVE,
            help="Seconds until a request is given up.",
        ),
        click.option(
            "--warmup",
            "warmup_s",
            default=2.0,
            type=Finite(0),
            show_default=True,
            help="Seconds of load before the window.",
        ),
        click.option("--seed", default=1, type=click.IntRange(0), show_default=True),
        click.option(
            "--arm", default="this machine", show_default=True, help="Name of what is measured, for comparisons."
        ),
        click.option(
            "--block", default=0, show_default=True, help="Block of the experiment that this trial belongs to."
        ),
        click.option("--experiment", default="", help="Name of the experiment."),
        click.option(
            "--instance",
            default=None,
            help="Instance type for the price; else what the metadata service says. Of a router and its shards all: "
            "'c8g.large + 8*r8g.4xlarge'.",
        ),
        click.option("--region", default=None, help="Region for the price."),
        click.option(
            "--prices", type=click.Path(exists=True, path_type=Path), default=None, help="A price table of your own."
        ),
        click.option(
            "--server-facts",
            type=click.Path(exists=True, path_type=Path),
            default=None,
            help="Facts of the service's machine (perwatt loadtest machine --json), if it is another one.",
        ),
        click.option("--image", default=None, help="Digest of the container image that serves, for the record."),
        click.option("--cores-served", type=int, default=None, help="CPUs that the service is confined to."),
        click.option(
            "--encoder-price",
            type=POSITIVE,
            metavar="USD",
            help="Of a million tokens, where the service's encoder runs elsewhere; the report tells it by query.",
        ),
        click.option(
            "--encoder-joules", type=POSITIVE, metavar="J", help="Of the other machine, for a million tokens."
        ),
        click.option(
            "--power-source", default=None, help="Power source by name; default: the finest that is readable."
        ),
        click.option("--redfish", default=None, help="URL of a Redfish chassis."),
        click.option("--shelly", default=None, help="URL of a Shelly plug."),
        click.option("--sysfs-powercap", type=click.Path(path_type=Path), default=None),
        click.option(
            "--start",
            default=None,
            metavar="COMMAND",
            help="Start the service first, with {port} replaced by a free port, and end it afterwards.",
        ),
        click.option("--start-cpus", default=None, help="CPUs for that service, e.g. 0."),
        click.option(
            "--indexing",
            multiple=True,
            type=click.Path(exists=True, path_type=Path),
            help="Vectors folder or generation whose making belongs to the bill.",
        ),
        click.option(
            "--energy",
            multiple=True,
            metavar="STEP=FILE",
            help="What perwatt loadtest metered wrote while that step ran, e.g. embed=embed-energy.json.",
        ),
        click.option(
            "--first/--no-first",
            default=True,
            help="Run the generator before other programs (real-time class), where that is allowed.",
        ),
        click.option(
            "--allow-interference",
            is_flag=True,
            help="Let trials count although other programs used the CPUs; the report says so in its first lines.",
        ),
        click.option(
            "--calibrate-s", default=5.0, type=SECONDS, show_default=True, help="Seconds of a calibration trial."
        ),
        click.option("--generator-cpus", default=None, help="CPUs for the generator, e.g. 1 or 2-3."),
        click.option("--out", type=click.Path(path_type=Path), default=None, help="Where to write the run record."),
        click.option("--watch", is_flag=True, help="Serve a page on the loopback that draws the run as it goes."),
        click.option(
            "--watch-port",
            type=click.IntRange(0, 65535),
            default=0,
            show_default=True,
            help="Of that page; 0: a free one, which is printed.",
        ),
        click.option(
            "--dry-run", is_flag=True, help="Say what would be done and how long it takes; ask and load nothing."
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command
