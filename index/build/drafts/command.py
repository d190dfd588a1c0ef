"""`perwatt draft`; deploy/command.py mounts it."""

from pathlib import Path

import click

from index import machine
from index.build.drafts.parcels import Helper


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
@click.option("--threads", type=click.IntRange(1), help="Default: every core of the cgroup.")
@click.option(
    "--idle",
    "idle_s",
    type=click.FloatRange(0),
    default=600.0,
    show_default=True,
    help="Seconds without anything to do, after which it ends. A build reads its rows before there is something.",
)
def draft(folder: Path, threads: int | None, idle_s: float) -> None:
    """Do parts of the graphs that builds with --parts DIR make, on this machine."""
    count = Helper(folder, idle_s).work(threads or machine.cores())
    click.echo(f"{count:,} parcels done")
