"""The commands of `perwatt loadtest` that load no service: facts of a machine, the self-test, what indexing cost, the
joules of a command, and simulated records."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from loadtest import units
from loadtest.cli.options import POSITIVE


@click.command()
@click.option("--json", "as_json", is_flag=True, help="As JSON, for --server-facts.")
def machine(as_json: bool) -> None:
    """Show the facts of this machine that a run record holds."""
    import msgspec

    from loadtest.machine import in_words, read_machine

    facts = read_machine()
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(facts), indent=2))
        return
    for name, value in in_words(facts):
        click.echo(f"{name:16} {value}")


@click.command()
def targets() -> None:
    """List the engines that --target names, and by what each can be asked."""
    from loadtest.targets.named import described

    for name, words in described():
        click.echo(f"{name:16} {words}")


@click.command()
@click.argument("vectors", type=click.Path(exists=True, path_type=Path))
@click.option("--target", required=True, help="The engine.")
@click.option("--url", required=True, help="Where it is.")
@click.option("--index", required=True, help="The collection or table to make.")
@click.option(
    "--ids",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    default=None,
    help="Of the rows of a .npy file, one a line.",
)
@click.option("--metric", type=click.Choice(["cosine", "ip", "l2"]), default="cosine", show_default=True)
@click.option(
    "--set", "settings", multiple=True, metavar="NAME=VALUE", help="Of the engine's index, such as ef_construction=100."
)
def load(
    vectors: Path, target: str, url: str, index: str, ids: Path | None, metric: str, settings: tuple[str, ...]
) -> None:
    """Fill an engine with VECTORS (a vectors folder, or .npy with --ids), so that an experiment is one script."""
    from loadtest.experiment.config import parse_variables
    from loadtest.targets.loading import read_rows
    from loadtest.targets.named import filler

    fill = filler(target)
    count = fill(url, index, read_rows(vectors, ids), metric, parse_variables(settings))
    click.echo(f"{units.count(count)} vectors in {index} of {target}")


@click.command()
@click.argument("dsn")
@click.option("--index", required=True, help="The table to search.")
@click.option("--set", "variables", multiple=True, metavar="NAME=VALUE", help="id, column, operator or knob.")
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=8432, show_default=True)
@click.option("--connections", default=8, type=click.IntRange(1), show_default=True, help="To the database.")
def bridge(dsn: str, index: str, variables: tuple[str, ...], host: str, port: int, connections: int) -> None:
    """Answer searches over HTTP by queries of the PostgreSQL at DSN, for --target pgvector from another machine."""
    import asyncio

    import psycopg

    from loadtest.errors import TargetError
    from loadtest.experiment.config import parse_variables
    from loadtest.targets.pgvector import table_of
    from loadtest.targets.sql_bridge import Bridge, listen, serve

    table = table_of(index, parse_variables(variables))
    try:
        asyncio.run(serve(Bridge(table, dsn, connections), listen(host, port)))
    except psycopg.Error as error:
        raise TargetError(f"PostgreSQL refuses: {str(error).strip()}") from error


@click.command()
@click.option("--full/--short", default=False, help="Also the proofs in real time (some 40 minutes).")
@click.option("--only", multiple=True, help="One of those: md1, mm4, stopped, paused, starved, planted. Repeatable.")
@click.option(
    "--target",
    type=click.Choice(["perwatt", "http"]),
    default="perwatt",
    show_default=True,
    help="What the proofs in real time ask their server through; http: a request template.",
)
def selftest(full: bool, only: tuple[str, ...], target: str) -> None:
    """Turn the harness on itself: what it says about servers whose truth is known."""
    from loadtest.selftest.run import run_selftest

    results = run_selftest(full=full, tell=click.echo, only=only, target=target)
    failed = [result for result in results if not result.passed]
    click.echo(f"{len(results) - len(failed)} of {len(results)} proofs passed")
    if failed:
        sys.exit(1)


@click.command()
@click.argument("folders", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Where to write the run record.")
@click.option("--instance", default=None, help="Instance type for the price.")
@click.option("--region", default=None)
@click.option("--arm", default="this machine", show_default=True)
@click.option(
    "--energy",
    multiple=True,
    metavar="STEP=FILE",
    help="What perwatt loadtest metered wrote, e.g. embed=embed-energy.json.",
)
def indexing(
    folders: tuple[Path, ...], out: Path, instance: str | None, region: str | None, arm: str, energy: tuple[str, ...]
) -> None:
    """What embedding and building cost, from vectors folders and generations."""
    from loadtest.experiment.indexing import indexing_record
    from loadtest.record.run_record import write_record

    record = indexing_record(list(folders), arm=arm, instance=instance, region=region, energy=energy)
    write_record(record, out)
    for step in record.indexing:
        click.echo(f"{step.step}: {units.count(step.items)} items in {units.seconds(step.seconds)}")
    click.echo(f"wrote {out}")


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("out", type=click.Path(path_type=Path, dir_okay=False))
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@click.option("--power-source", default=None, help="Power source by name; default: the finest that is readable.")
def metered(out: Path, command: tuple[str, ...], power_source: str | None) -> None:
    """Run COMMAND and write the joules it took to OUT, from this machine's sensor."""
    import msgspec

    from loadtest.errors import PowerError
    from loadtest.power.metered import run_metered
    from loadtest.power.probe import choose, probe

    source = choose(probe(), power_source)
    if source is None:
        raise PowerError("no power sensor can be read here, so there is nothing to meter with; see perwatt power")
    found = run_metered(command, source)
    out.write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=1))
    joules = units.joules(found.energy.joules)
    click.echo(f"{joules} ({found.energy.domain}) in {units.seconds(found.seconds)}; wrote {out}", err=True)
    sys.exit(found.exit_status)


@click.command()
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the run records.")
@click.option("--sample", "sample_out", type=click.Path(path_type=Path), help="Folder for SAMPLE.md and its pictures.")
@click.option("--blocks", default=8, type=click.IntRange(1), show_default=True)
@click.option("--speed", default=1.12, type=POSITIVE, show_default=True, help="Planted speed of the candidate.")
def example(out: Path | None, sample_out: Path | None, blocks: int, speed: float) -> None:
    """Run records of two simulated machines, to see what a migration report looks like."""
    from loadtest.record.run_record import write_record
    from loadtest.report.sample import sample_files
    from loadtest.selftest.example import example_records

    if out is None and sample_out is None:
        raise click.UsageError("say where to: --out FOLDER for the records, --sample FOLDER for the report as Markdown")
    records = example_records(blocks, speed)
    for record in records if out is not None else []:
        name = record.label.arm.replace(" ", "-").replace("(", "").replace(")", "")
        assert out is not None
        write_record(record, out / f"{record.label.block:02}-{name}.json")
    if out is not None:
        click.echo(f"wrote {len(records)} simulated records to {out}")
    if sample_out is not None:
        sample_out.mkdir(parents=True, exist_ok=True)
        for file, text in sample_files(records).items():
            (sample_out / file).write_text(text, "utf-8")
        click.echo(f"wrote SAMPLE.md and its pictures to {sample_out}")
