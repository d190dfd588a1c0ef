"""The command line of the harness: `perwatt loadtest run | knee | curve | soak | calibrate | selftest | indexing`.

Every command that loads a service writes a run record and prints its short reading. Exit status 3: the run is invalid,
no number was printed. Status 1 and 2 are those of any command (failure, wrong usage).
"""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from loadtest import units
from loadtest.cli.options import Finite, Read
from loadtest.errors import InvalidRun, WorkloadError

INVALID = 3
POSITIVE = Finite(0, min_open=True)
SECONDS = Finite(1)  # windows are whole seconds


def _effort(text: str) -> None:
    if text != "auto" and not (text.isdecimal() and int(text) > 0):
        raise WorkloadError(f"{text!r}: expected a number or 'auto'")


def _popularity(text: str) -> None:
    from loadtest.workload.requests import popularity

    popularity(text, 1)


def _filter(text: str) -> None:
    from loadtest.workload.filters import parse_filters

    parse_filters((text,))


def service_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """What every command that loads a service takes."""
    options = [
        click.option("--url", default="http://127.0.0.1:8000", show_default=True, help="The service under test."),
        click.option("--index", required=True, help="Name of the index to search."),
        click.option(
            "--queries",
            required=True,
            type=click.Path(exists=True, path_type=Path),
            help="Real queries: .jsonl, .txt, .npy, or a vectors folder.",
        ),
        click.option(
            "--field",
            "field_",
            default="title",
            show_default=True,
            help="Payload field to ask for, when --queries is a vectors folder.",
        ),
        click.option(
            "-k", "k", default=10, type=click.IntRange(1, 1000), show_default=True, help="Neighbours asked for."
        ),
        click.option(
            "--effort",
            type=Read(_effort),
            default=None,
            help="Search effort: a number, or 'auto' for the cheapest that proves --recall.",
        ),
        click.option("--mode", type=click.Choice(["dense", "lexical", "hybrid"]), default=None),
        click.option(
            "--popularity",
            type=Read(_popularity),
            default="uniform",
            show_default=True,
            help="uniform or zipf:<exponent>.",
        ),
        click.option(
            "--filter",
            "filters",
            type=Read(_filter),
            multiple=True,
            help='SHARE:JSON, e.g. \'0.2:{"field":"kind","eq":"class"}\'.',
        ),
        click.option(
            "--filters",
            "filters_file",
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            default=None,
            help='The same from a file: {"share": …, "filter": {…}} a line.',
        ),
        click.option(
            "--send",
            type=click.Choice(["text", "vector", "both"]),
            default="text",
            show_default=True,
            help="Text queries as text, as the vectors that the service makes of them, or by turns.",
        ),
        click.option(
            "--processes", default=1, type=click.IntRange(1, 512), show_default=True, help="Generator processes."
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
            "--instance", default=None, help="Instance type for the price; else what the metadata service says."
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
        click.option("--cores-served", type=int, default=None, help="CPUs that the service is confined to."),
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
        click.option(
            "--dry-run", is_flag=True, help="Say what would be done and how long it takes; ask and load nothing."
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


@click.group()
def loadtest() -> None:
    """Load a service and measure what a query costs.

    Open loop: requests are sent when they are due, whatever became of those before. Every command writes a run record;
    `perwatt report` makes a page of it.
    """


@loadtest.command()
@service_options
@click.option(
    "--rate",
    "rate_qps",
    required=True,
    type=POSITIVE,
    help="Queries a second, of all processes together.",
)
@click.option(
    "--duration",
    "duration_s",
    default=30.0,
    type=SECONDS,
    show_default=True,
    help="Seconds of the measured window.",
)
@click.option(
    "--calibrate/--no-calibrate",
    "calibrate_first",
    default=False,
    help="Measure the generator's ceiling first.",
)
def run(rate_qps: float, duration_s: float, calibrate_first: bool, **given: Any) -> None:
    """One trial at a constant rate."""
    _plan("run", given, duration_s=duration_s, calibrate_first=calibrate_first)
    with _open("run", given) as bench:
        if calibrate_first:
            bench.calibrate(rate_qps)
        bench.measure(rate_qps, duration_s, "run")
        _finish(bench.record(), bench.out)


@loadtest.command()
@service_options
@click.option(
    "--start-rate", "start_qps", default=50.0, type=POSITIVE, show_default=True, help="Where doubling begins."
)
@click.option(
    "--limit-rate",
    "limit_qps",
    default=100_000.0,
    type=POSITIVE,
    show_default=True,
    help="Never offer more than this.",
)
@click.option("--search-s", default=10.0, type=SECONDS, show_default=True, help="Seconds of a search trial.")
@click.option("--confirm-s", default=30.0, type=SECONDS, show_default=True, help="Seconds of a confirmation.")
@click.option(
    "--tolerance",
    default=0.03,
    type=Finite(0.001, 0.5),
    show_default=True,
    help="Relative width of the final bracket.",
)
@click.option(
    "--curve/--no-curve",
    "with_curve",
    default=True,
    help="Also record the load curve from idle to 100 %.",
)
@click.option("--level-s", default=10.0, type=SECONDS, show_default=True, help="Seconds of a level of the curve.")
@click.option("--levels", default=10, type=click.IntRange(1, 100), show_default=True, help="Levels of the curve.")
@click.option(
    "--calibrate/--no-calibrate",
    "calibrate_after",
    default=True,
    help="Prove the generator at three times the knee.",
)
def knee(
    start_qps: float, limit_qps: float, search_s: float, confirm_s: float, tolerance: float, with_curve: bool,
    level_s: float, levels: int, calibrate_after: bool, **given: Any,
) -> None:  # fmt: skip
    """The highest rate that meets the objective, and the load curve up to it."""
    _plan(
        "knee", given, start_qps=start_qps, limit_qps=limit_qps, search_s=search_s, confirm_s=confirm_s,
        tolerance=tolerance, with_curve=with_curve, level_s=level_s, levels=levels, calibrate_after=calibrate_after,
    )  # fmt: skip
    with _open("knee", given) as bench:
        with contextlib.suppress(InvalidRun):  # the reasons are in the trials; _finish ends with status 3
            bench.find_knee(start_qps, limit_qps, search_s, confirm_s, tolerance)
            if calibrate_after:
                bench.calibrate(bench.sustained_qps())
            if with_curve:
                bench.curve(bench.sustained_qps(), level_s, levels)
        _finish(bench.record(), bench.out)


@loadtest.command()
@service_options
@click.option("--capacity", "capacity_qps", required=True, type=POSITIVE, help="What is 100 % (the knee), q/s.")
@click.option("--level-s", default=10.0, type=SECONDS, show_default=True, help="Seconds of a level.")
@click.option("--levels", default=10, type=click.IntRange(1, 100), show_default=True, help="Levels of the curve.")
def curve(capacity_qps: float, level_s: float, levels: int, **given: Any) -> None:
    """The load curve from idle to 100 % of a capacity that is known."""
    _plan("curve", given, level_s=level_s, levels=levels)
    with _open("curve", given) as bench:
        with contextlib.suppress(InvalidRun):
            bench.curve(capacity_qps, level_s, levels)
        _finish(bench.record(), bench.out)


@loadtest.command()
@service_options
@click.option("--rate", "rate_qps", required=True, type=POSITIVE, help="Queries a second.")
@click.option("--hours", default=1.0, type=POSITIVE, show_default=True, help="How long.")
def soak(rate_qps: float, hours: float, **given: Any) -> None:
    """Hours at a constant rate: does it get slower, does it grow?"""
    _plan("soak", given, hours=hours)
    with _open("soak", given) as bench:
        bench.measure(rate_qps, max(round(hours * 3600), 1), "soak")
        _finish(bench.record(), bench.out)


@loadtest.command()
@service_options
@click.option("--start-rate", "start_qps", default=5000.0, type=POSITIVE, show_default=True)
def calibrate(start_qps: float, **given: Any) -> None:
    """The generator's own ceiling, against a server that does nothing."""
    _plan("calibrate", given)
    with _open("run", given, ask_service=False) as bench:
        found = bench.generator.calibrate(start_qps, ceiling=True, seconds=given["calibrate_s"])
    per_core = found.sustained_qps / max(found.processes, 1)
    click.echo(
        f"{units.rate(found.sustained_qps)} with {found.processes} processes ({units.rate(per_core)} each), "
        f"p99 {units.milliseconds(found.p99_ms)}, CPU {units.percent(found.cpu)} of a core"
    )


@loadtest.command()
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


@loadtest.command()
@click.option("--full/--short", default=False, help="Also the proofs in real time (some 40 minutes).")
@click.option("--only", multiple=True, help="One of those: md1, mm4, stopped, paused, starved, planted. Repeatable.")
def selftest(full: bool, only: tuple[str, ...]) -> None:
    """Turn the harness on itself: what it says about servers whose truth is known."""
    from loadtest.selftest.run import run_selftest

    results = run_selftest(full=full, tell=click.echo, only=only)
    failed = [result for result in results if not result.passed]
    click.echo(f"{len(results) - len(failed)} of {len(results)} proofs passed")
    if failed:
        sys.exit(1)


@loadtest.command()
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


@loadtest.command(context_settings={"ignore_unknown_options": True})
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


def _plan(kind: str, given: dict[str, Any], **more: Any) -> None:
    """Says how long it will take, and ends there when nothing else was asked for."""
    from loadtest.experiment import duration

    dry = given.pop("dry_run")
    lines = duration.in_words(duration.steps(kind, {**given, **more}))
    for line in lines if dry else lines[:1]:
        click.echo(line, err=not dry)
    if dry:
        click.echo("dry run: nothing was asked and nothing loaded")
        sys.exit(0)


def _open(kind: str, given: dict[str, Any], ask_service: bool = True) -> Any:
    """The bench; an emulated machine is refused before any load is made, so there is a reason and no record."""
    from loadtest.experiment.measurement import Bench

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # a pipeline's cancel keeps what there is, as Ctrl-C
    try:
        return Bench(kind, given, _live, ask_service)
    except InvalidRun as error:
        click.echo(f"INVALID: {error}", err=True)
        sys.exit(INVALID)


def _live(fields: dict[str, Any]) -> None:
    """The line that people watch: once a second on a terminal, else every ten."""
    terminal = sys.stderr.isatty()
    if not terminal and (fields["elapsed_s"] < 5 or round(fields["elapsed_s"]) % 10):
        return
    elapsed = max(fields["elapsed_s"], 1e-9)
    line = (
        f"{fields['role']:8} {fields['elapsed_s']:6.0f} s  offered {fields['offered_qps']:,.4g}/s  "
        f"answered {fields['answered'] / elapsed:,.4g}/s  p50 {units.milliseconds(fields['p50_ms'])}  "
        f"p99 {units.milliseconds(fields['p99_ms'])}  lag p99 {units.milliseconds(fields['lag_p99_ms'])}  "
        f"shed {fields['shed']:.0f}  missed {fields['missed']:.0f}  errors {fields['errors']:.0f}"
    )
    click.echo(f"\r\x1b[K{line}" if terminal else line, nl=not terminal, err=True)


def _finish(record: Any, out: Path) -> None:
    from loadtest.record.run_record import write_record
    from loadtest.report.summary import run_lines

    if sys.stderr.isatty():
        click.echo("\r\x1b[K", nl=False, err=True)
    write_record(record, out)
    for line in run_lines(record):
        click.echo(line)
    click.echo(f"wrote {out}")
    if record.invalid:
        sys.exit(INVALID)


@loadtest.command()
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
