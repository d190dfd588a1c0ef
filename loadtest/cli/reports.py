"""The commands that read what was recorded: `perwatt report | compare | fleet`.

None of them loads anything. The same records give the same bytes.
"""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from loadtest import units
from loadtest.cli.options import Finite
from loadtest.cli.report_options import arm_options, demand_of, fleet_options
from loadtest.errors import RecordError

if TYPE_CHECKING:  # reading needs scipy; a list of commands does not
    from loadtest.analysis.reading import Reading

INVALID = 3

RUNS = click.argument("runs", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=True, path_type=Path))


def _by_file(paths: tuple[Path, ...]) -> list[tuple[Path, Reading]]:
    """Of the records in the given order; a folder stands for its *.json in the order of their names."""
    from loadtest.analysis.reading import Reading
    from loadtest.record.run_record import read_record

    files: list[Path] = []
    for path in paths:
        if not path.exists():
            raise RecordError(f"{path} does not exist; expected a run record or a folder of them")
        found = sorted(path.glob("*.json")) if path.is_dir() else [path]
        if not found:
            raise RecordError(f"{path} holds no run record (*.json)")
        files += found
    return [(file, Reading(read_record(file))) for file in files]


def _readings(paths: tuple[Path, ...]) -> list[Reading]:
    return [reading for _, reading in _by_file(paths)]


@contextlib.contextmanager
def _or_invalid() -> Iterator[None]:
    """Where the exit status is a verdict, 1 means worse: what cannot be compared at all is invalid, and ends with 3."""
    try:
        yield
    except RecordError as error:
        click.echo(f"invalid: {error}", err=True)
        sys.exit(INVALID)


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    except OSError as error:
        raise RecordError(f"{path} cannot be written: {error}") from error
    click.echo(f"wrote {path}", err=True)


def _two_arms(runs: list[Reading], baseline: str | None, candidate: str | None, replica: str | None) -> tuple[str, str]:
    from loadtest.analysis.arm import by_arm

    names = [name for name in by_arm(runs) if name != replica]
    if baseline is None and candidate is None and len(names) == 2:
        return names[0], names[1]
    if baseline is not None and candidate is None:
        rest = [name for name in names if name != baseline]
        if len(rest) == 1:
            return baseline, rest[0]
    if baseline is None or candidate is None:
        raise RecordError(f"the runs have the arms {', '.join(names)}: say which is --baseline and which --candidate")
    return baseline, candidate


@click.command()
@RUNS
@arm_options
@click.option("--html", "html_out", type=click.Path(path_type=Path), default=None, help="Write the page here.")
@click.option(
    "--markdown",
    "markdown_out",
    type=click.Path(path_type=Path),
    default=None,
    help="Write Markdown here (- for stdout).",
)
@click.option(
    "--json", "json_out", type=click.Path(path_type=Path), default=None, help="Write JSON here (- for stdout)."
)
@fleet_options(required=False)
@click.option(
    "--offers",
    "offers_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    default=None,
    help="CSV of what else the machines can be had for: instance, purchase, usd_per_hour, source, as_of.",
)
@click.option("--unpaired", "earlier", multiple=True, type=click.Path(exists=True, path_type=Path),
              help="Run record or folder of them, of the last release: what became slower in RUNS since. Repeatable.",
)  # fmt: skip
@click.option("--migration-usd", type=Finite(0), default=None, help="What moving costs you, for when it pays back.")
def report(
    runs: tuple[Path, ...], baseline: str | None, candidate: str | None, replica: str | None, margin: float,
    html_out: Path | None, markdown_out: Path | None, json_out: Path | None, offers_file: Path | None,
    migration_usd: float | None, earlier: tuple[Path, ...], **fleet_given: Any,
) -> None:  # fmt: skip
    """Make a report of one run, or of the arms of an experiment; with --peak, of the fleet it would take too.

    Of runs of one corpus in different numbers of shards, without --baseline: what a query costs in each.
    """
    from loadtest.analysis.arm import by_arm
    from loadtest.analysis.compare import compare as compared
    from loadtest.analysis.decision import Plans, decide
    from loadtest.analysis.sharding import several_shardings
    from loadtest.prices.offers import read_offers
    from loadtest.report.compare_page import compare_page
    from loadtest.report.data import report_json
    from loadtest.report.html import html
    from loadtest.report.markdown import markdown
    from loadtest.report.run_page import run_page
    from loadtest.report.shards_page import shards_page

    read = _readings(runs)
    demand = demand_of(**fleet_given) if fleet_given["peak_qps"] else None
    comparison, decision = None, None
    if earlier:
        from loadtest.analysis.release import compare_releases
        from loadtest.report.release_page import release_page

        if baseline or candidate or replica or json_out:
            raise click.UsageError("--unpaired holds RUNS against earlier ones: it takes no arms, and writes no JSON")
        old = _readings(earlier)
        page = release_page(compare_releases(read, old, margin), read, old)
    elif len(read) == 1:
        page = run_page(read[0], demand)
    elif baseline is candidate is None and several_shardings(read):
        page = shards_page(read)
    else:
        base, other = _two_arms(read, baseline, candidate, replica)
        comparison = compared(read, base, other, replica=replica, margin=margin)
        offers = read_offers(offers_file) if offers_file else []
        plans, arms = Plans(demand, offers, migration_usd), by_arm(read)
        decision = decide(comparison, [arms[base], arms[other]], plans)
        page = compare_page(comparison, read, plans)
    if not any((html_out, markdown_out, json_out)):
        html_out = Path("report.html")
    made: list[tuple[Path | None, Callable[[], str]]] = [
        (html_out, lambda: html(page)),
        (markdown_out, lambda: markdown(page)),
        (json_out, lambda: report_json(read, comparison, decision)),
    ]
    for target, make in made:
        if target is None:
            continue
        if str(target) == "-":
            click.echo(make(), nl=False)
        else:
            _write(target, make())


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))  # one that is not there is invalid
@arm_options
@click.option("--metric", type=click.Choice(["auto", "second", "dollar", "joule"]), default="auto", show_default=True,
              help="What the exit status is decided on; auto: dollars if both arms are priced.")  # fmt: skip
@click.option("--unpaired", "earlier", multiple=True, type=click.Path(path_type=Path),
              help="Run record or folder of them, of another day: all RUNS are held against all of these. Repeatable.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True)
def compare(
    runs: tuple[Path, ...], baseline: str | None, candidate: str | None, replica: str | None, margin: float,
    metric: str, earlier: tuple[Path, ...], as_json: bool,
) -> None:  # fmt: skip
    """Compare two arms, or a build with an earlier one. Exit status: 0 better or equal, 1 worse, 2 inconclusive, 3
    invalid.

    Two arms are paired by block. Runs of different days have nothing to pair by: with --unpaired they are compared as
    two samples, by capacity.
    """
    if earlier:
        if baseline or candidate or replica or metric != "auto" or as_json:
            raise click.UsageError("--unpaired compares RUNS with earlier ones; of other options it takes --margin")
        _compare_unpaired(runs, earlier, margin)
    from loadtest.analysis.arm import by_arm
    from loadtest.analysis.compare import compare as compared
    from loadtest.analysis.engines import arm_in_words
    from loadtest.report.data import report_json

    with _or_invalid():
        read = _readings(runs)
        base, other = _two_arms(read, baseline, candidate, replica)
        found = compared(read, base, other, replica=replica, margin=margin)
    key = found.headline if metric == "auto" else f"per {metric}"
    verdict = found.verdicts[key]
    if as_json:
        click.echo(report_json(read, found), nl=False)
        sys.exit(verdict.exit_status)
    click.echo(f"{verdict.value}: {other} against {base}, queries {key}")
    arms = by_arm(read)
    for name in (other, base):
        click.echo(f"  {name}: {arm_in_words(arms[name])}")
    for line in (*found.problems, *found.reasons):
        click.echo(f"  {line}")
    for label, ratio in (
        ("per second", found.per_second),
        ("per dollar", found.per_dollar),
        ("per joule", found.per_joule),
    ):
        if ratio is not None:
            click.echo(
                f"  queries {label}: {units.ratio(ratio.estimate)} [{units.interval(ratio.low, ratio.high)}], "
                f"{ratio.blocks} blocks"
            )
    if found.modelled is not None:
        m = found.modelled
        click.echo(
            f"  queries per joule, modelled: {units.ratio(m.p50)} [{units.interval(m.p5, m.p95)}, 5–95 %], wins "
            f"with {m.wins:.0%}"
        )
    if found.per_joule is None and found.per_second is not None:
        click.echo(f"  break-even power ratio: {found.per_second.estimate:.2f}; joules not measured: {found.unmetered}")
    if found.replica is not None:
        click.echo(
            f"  A/A: {units.ratio(found.replica.estimate)} "
            f"[{units.interval(found.replica.low, found.replica.high)}, 99 %]"
        )
    sys.exit(verdict.exit_status)


def _compare_unpaired(runs: tuple[Path, ...], earlier: tuple[Path, ...], margin: float) -> None:
    from loadtest.analysis.release import compare_releases

    with _or_invalid():
        for path in earlier:
            if not path.exists():
                raise RecordError(f"there is no run at {path}: keep the records of a build that was good there")
        new, old = _by_file(runs), _by_file(earlier)
        release = compare_releases([each for _, each in new], [each for _, each in old], margin)
    found = release.verdict
    click.echo(f"{found.verdict.value}: {found.why}")
    for file, reading in (*new, *old):
        if reading.invalid:
            click.echo(f"  {file} may not be believed: {'; '.join(reading.invalid)}")
    if found.verdict.exit_status != INVALID:
        interval = units.interval(found.low, found.high)
        click.echo(f"  capacity {units.ratio(found.ratio)} [{interval}], {margin:.0%} loss allowed")
        for step in release.steps[1:]:
            known = f" [{units.interval(step.low, step.high)}]" if math.isfinite(step.high) else ""
            click.echo(f"  {step.what}: {units.ratio(step.ratio)}{known}, {step.word}")
    for change in release.changes:
        click.echo(f"  changed: {change.what} from {change.before} to {change.after}")
    sys.exit(found.verdict.exit_status)


@click.command()
@RUNS
@fleet_options(required=True)
def fleet(runs: tuple[Path, ...], **fleet_given: Any) -> None:
    """What a real day would need on each machine that was measured: instances, $ and kWh a month."""
    from loadtest.analysis.arm import by_arm
    from loadtest.analysis.compare import same_question
    from loadtest.report.page import Table
    from loadtest.report.sections.fleet_section import fleet_section

    demand = demand_of(**fleet_given)
    for name, arm in by_arm(_readings(runs)).items():
        same_question(arm, bytewise=False)
        section = fleet_section([arm], demand)
        if not section.parts:
            raise RecordError(section.lead)
        click.echo(f"{name}:")
        for part in section.parts:
            assert isinstance(part, Table)
            for label, value in part.rows:
                click.echo(f"  {label.strip()}: {value}")
