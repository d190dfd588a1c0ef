"""The commands that load a service: `perwatt loadtest run | knee | curve | soak | calibrate`.

Each writes a run record and prints its short reading. Exit status 3: the run is invalid, no number was printed. Status
1 and 2 are those of any command (failure, wrong usage).
"""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from loadtest import units
from loadtest.cli import tools
from loadtest.cli.options import CONFIRMATION, POSITIVE, SECONDS, Finite
from loadtest.cli.service_options import config_of, service_options
from loadtest.cli.worker import worker
from loadtest.errors import InvalidRun

if TYPE_CHECKING:
    from loadtest.experiment.config import ExperimentConfig, KneeRun, Run
    from loadtest.experiment.measurement import Bench
    from loadtest.live.board import Board
    from loadtest.live.server import LiveServer

INVALID = 3


@click.group()
def loadtest() -> None:
    """Load a service and measure what a query costs.

    Open loop: requests are sent when they are due, whatever became of those before. Every command that loads a service
    writes a run record; `perwatt report` makes a page of it.
    """


for command in (
    tools.machine,
    tools.selftest,
    tools.indexing,
    tools.metered,
    tools.example,
    tools.targets,
    tools.load,
    tools.bridge,
    worker,
):
    loadtest.add_command(command)


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
    from loadtest.experiment.config import TrialRun

    wanted = TrialRun(rate_qps=rate_qps, duration_s=duration_s, calibrate=calibrate_first)
    with _opened("run", wanted, given) as bench:
        if wanted.calibrate:
            bench.calibrate(wanted.rate_qps)
        bench.measure(wanted.rate_qps, wanted.duration_s, "run")


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
@click.option(
    "--confirm-s",
    default=30.0,
    type=CONFIRMATION,
    show_default=True,
    help="Seconds of a confirmation, so many at least that p99 has an interval.",
)
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
def knee(**given: Any) -> None:
    """The highest rate that meets the objective, and the load curve up to it."""
    wanted = knee_run(given)
    with _opened("knee", wanted, given) as bench, contextlib.suppress(InvalidRun):
        # The reasons are in the trials; the status is then 3.
        bench.find_knee(wanted)
        if wanted.calibrate:
            bench.calibrate(bench.sustained_qps())
        if wanted.curve is not None:
            bench.curve(bench.sustained_qps(), wanted.curve)


@loadtest.command()
@service_options
@click.option("--capacity", "capacity_qps", required=True, type=POSITIVE, help="What is 100 % (the knee), q/s.")
@click.option("--level-s", default=10.0, type=SECONDS, show_default=True, help="Seconds of a level.")
@click.option("--levels", default=10, type=click.IntRange(1, 100), show_default=True, help="Levels of the curve.")
def curve(capacity_qps: float, level_s: float, levels: int, **given: Any) -> None:
    """The load curve from idle to 100 % of a capacity that is known."""
    from loadtest.experiment.config import CurveRun

    wanted = CurveRun(level_s=level_s, levels=levels)
    with _opened("curve", wanted, given) as bench, contextlib.suppress(InvalidRun):
        bench.curve(capacity_qps, wanted)


@loadtest.command()
@service_options
@click.option("--rate", "rate_qps", required=True, type=POSITIVE, help="Queries a second.")
@click.option("--hours", default=1.0, type=POSITIVE, show_default=True, help="How long.")
def soak(rate_qps: float, hours: float, **given: Any) -> None:
    """Hours at a constant rate: does it get slower, does it grow?"""
    from loadtest.experiment.config import SoakRun

    wanted = SoakRun(rate_qps=rate_qps, hours=hours)
    with _opened("soak", wanted, given) as bench:
        bench.measure(wanted.rate_qps, wanted.duration_s, "soak")


@loadtest.command()
@service_options
@click.option("--start-rate", "start_qps", default=5000.0, type=POSITIVE, show_default=True)
def calibrate(start_qps: float, **given: Any) -> None:
    """The generator's own ceiling, against a server that does nothing."""
    from loadtest.experiment.config import CalibrationRun

    wanted = CalibrationRun(start_qps=start_qps)
    with _opened("run", wanted, given, ask_service=False) as bench:
        found = bench.ceiling(wanted)
    per_core = found.sustained_qps / max(found.processes, 1)
    click.echo(
        f"{units.rate(found.sustained_qps)} with {found.processes} processes ({units.rate(per_core)} each), "
        f"p99 {units.milliseconds(found.p99_ms)}, CPU {units.percent(found.cpu)} of a core"
    )


def knee_run(given: dict[str, Any]) -> KneeRun:
    """Takes what is the knee's out of what click read for `knee`; `config_of` takes the rest."""
    from loadtest.experiment.config import CurveRun, KneeRun

    curve = CurveRun(level_s=given.pop("level_s"), levels=given.pop("levels"))
    return KneeRun(
        curve=curve if given.pop("with_curve") else None,
        calibrate=given.pop("calibrate_after"),
        **{name: given.pop(name) for name in ("start_qps", "limit_qps", "search_s", "confirm_s", "tolerance")},
    )


@contextlib.contextmanager
def _opened(kind: str, wanted: Run, given: dict[str, Any], ask_service: bool = True) -> Iterator[Bench]:
    """The bench, once it was said how long it will take; a dry run ends there. An emulated machine is refused before
    any load is made, so there is a reason and no record. Afterwards the record is written and its reading printed; of
    what did not ask a service there is none."""
    dry, watch, port = (given.pop(name) for name in ("dry_run", "watch", "watch_port"))
    config = config_of(given)
    _say_how_long(config, wanted, dry)
    from loadtest.experiment.measurement import Bench
    from loadtest.live.board import Board
    from loadtest.live.server import live_server

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # a pipeline's cancel keeps what there is, as Ctrl-C
    board = Board(f"{kind} · {config.arm}", config.slo_p99_ms, config.recall_target)
    with contextlib.ExitStack() as opened:
        page = opened.enter_context(live_server(board, port)) if watch else None
        if page is not None:
            click.echo(f"watch it on {page.url}", err=True)
        try:
            bench = opened.enter_context(Bench(kind, config, lambda fields: _live(board.add(fields)), ask_service))
        except InvalidRun as error:
            click.echo(f"INVALID: {error}", err=True)
            sys.exit(INVALID)
        yield bench
        if ask_service:
            _finish(bench, board, page)


def _say_how_long(config: ExperimentConfig, wanted: Run, dry: bool) -> None:
    from loadtest.experiment import duration

    lines = duration.in_words(duration.steps(config, wanted))
    for line in lines if dry else lines[:1]:
        click.echo(line, err=not dry)
    if dry:
        click.echo("dry run: nothing was asked and nothing loaded")
        sys.exit(0)


def _live(row: dict[str, Any]) -> None:
    """The line that people watch: once a second on a terminal, else every ten."""
    from loadtest.live.line import line

    terminal = sys.stderr.isatty()
    if not terminal and (row["elapsed_s"] < 5 or round(row["elapsed_s"]) % 10):
        return
    click.echo(f"\r\x1b[K{line(row)}" if terminal else line(row), nl=not terminal, err=True)


def _finish(bench: Bench, board: Board, page: LiveServer | None) -> None:
    from loadtest.analysis.reading import Reading
    from loadtest.record.run_record import write_record
    from loadtest.report.summary import run_lines

    if sys.stderr.isatty():
        click.echo("\r\x1b[K", nl=False, err=True)
    if page is not None:
        bench.notes.append(
            f"Watched live: the page took {units.seconds(page.cost_s)} of processor time in the load test's process."
        )
    reading = Reading(bench.record())
    write_record(reading.record, bench.out)
    lines = run_lines(reading)
    board.end(lines)
    for line in lines:
        click.echo(line)
    click.echo(f"wrote {bench.out}")
    if reading.invalid:
        sys.exit(INVALID)
