"""The report of one corpus in several numbers of shards: what a query costs in S of them against the fewest."""

from __future__ import annotations

from collections.abc import Sequence

from loadtest import units
from loadtest.analysis.reading import Reading
from loadtest.analysis.sharding import Sharded, by_shards
from loadtest.report.charts import both
from loadtest.report.machines import machine_section
from loadtest.report.page import Chart, Figure, Headline, Page, Section, Table
from loadtest.report.plots import Line, plot
from loadtest.report.run_page import SIMULATED, foot
from loadtest.report.sections.shards_section import FALL

UNKNOWN = "Nothing is known of all of the runs that could be divided: neither CPU time, joules, dollars nor a capacity."


def shards_page(runs: Sequence[Reading]) -> Page:
    """Of records whose numbers of shards differ. Raises RecordError where they cannot be set beside each other."""
    found, first = by_shards(runs), runs[0].record
    evidence = "simulated" if first.label.simulated else "measured"
    return Page(
        title=f"One corpus in {', '.join(dict.fromkeys(str(each.shards) for each in found))} shards",
        subtitle=f"{first.label.experiment or 'shards'} · {len(runs)} runs",
        banner=SIMULATED if first.label.simulated else "",
        headline=_headline(found, evidence),
        figures=[figure for each in found[1:] if (figure := _figure(each, found[0], evidence)) is not None],
        sections=[_section(found), machine_section([runs[0]])],
        foot=foot(runs),
    )


def _headline(found: Sequence[Sharded], evidence: str) -> Headline:
    base, last = found[0], found[-1]
    if not last.measured:
        return Headline("Not known", UNKNOWN, "none", "open")
    what, measured = next(iter(last.measured.items()))
    sentence = (
        f"In {last.name} shards there are {units.digits(measured.value)} queries {what}, {units.ratio(measured.ratio)} "
        f"of those at S = {base.name}; 1/S would be {units.ratio(measured.expected)}."
    )
    tone = "good" if measured.ratio >= 0.9 * measured.expected else "bad"
    return Headline(f"{units.ratio(measured.ratio)} at S = {last.shards}", sentence, evidence, tone)


def _figure(each: Sharded, base: Sharded, evidence: str) -> Figure | None:
    if not each.measured:
        return None
    what, measured = next(iter(each.measured.items()))
    detail = f"of S = {base.name} · 1/S is {units.ratio(measured.expected)}"
    return Figure(f"Queries {what}, S = {each.name}", units.ratio(measured.ratio), detail, evidence)


def _section(found: Sequence[Sharded]) -> Section:
    names = list(found[0].measured)
    rows = []
    for each in found:
        row = [each.name, each.replicas, str(each.servers), str(each.runs), units.ratio(found[0].shards / each.shards)]
        of = [each.measured[name] for name in names]
        rows.append([*row, *(f"{units.digits(one.value)}, {units.ratio(one.ratio)}" for one in of)])
    columns = ["S", "R", "Servers", "Runs", "1/S", *(f"Queries {name}" for name in names)]
    lead = (
        f"{FALL} The figures count all that answers: the router, and every shard's servers. Geometric means over the "
        "runs of each S, at the rate that each confirmed, and their ratio to the fewest shards."
    )
    parts: list[Table | Chart | str] = [Table(columns, rows)]
    if (chart := _chart(found)) is not None:
        parts.insert(0, chart)
    return Section("What S shards cost", lead, parts)


def _chart(found: Sequence[Sharded]) -> Chart | None:
    """The ratios of what decides, and 1/S."""
    if not found[0].measured:
        return None
    what = next(iter(found[0].measured))
    fewest, most = found[0].shards, found[-1].shards
    steps = [fewest + (most - fewest) * step / 40 for step in range(41)]
    lines = [
        Line("1/S", [(shards, fewest / shards) for shards in steps], "s3", dots=False),
        Line(f"queries {what}", [(float(each.shards), each.measured[what].ratio) for each in found], "s1", line=False),
    ]
    says = f"Queries {what} by the number of shards, of those at S = {found[0].name}, beside 1/S"
    ticks = [(float(each.shards), str(each.shards)) for each in {each.shards: each for each in found}.values()]
    return both(
        lambda width: plot(
            width, lines, x_label="shards (S)", y_label=f"of S = {found[0].name}", x_text=units.digits,
            y_text=units.ratio, x_ticks=ticks, says=says,
        ),
        says,
    )  # fmt: skip
