"""`perwatt loadtest worker`."""

from __future__ import annotations

import click

from loadtest.cli.options import POSITIVE


@click.command()
@click.argument("master", metavar="HOST:PORT")
@click.option(
    "--wait", "wait_s", default=600.0, type=POSITIVE, show_default=True, help="Seconds without a trial, then it ends."
)
@click.option("--cpus", "cpus_given", default=None, help="CPUs for the generator, e.g. 1 or 2-3.")
@click.option("--trials", "most", default=None, type=click.IntRange(1), help="Take part in so many, then end.")
def worker(master: str, wait_s: float, cpus_given: str | None, most: int | None) -> None:
    """Generate load for a run that another host was told to `--expect-workers` for.

    HOST:PORT is that host, and the port of its --bind. PERWATT_WORKER_TOKEN must be the same on both, and PERWATT_KEY a
    key for the service, where it asks for one. One generator is one core: start as many as there are.
    """
    from loadtest.experiment.config import parse_cpus, parse_place
    from loadtest.generator.workers.loop import work

    host, port = parse_place(master, "HOST:PORT")
    cpus = parse_cpus(cpus_given, "--cpus")
    trials = work(host, port, wait_s, cpus, lambda line: click.echo(line, err=True), most)
    click.echo(f"took part in {trials} trial{'' if trials == 1 else 's'}", err=True)
