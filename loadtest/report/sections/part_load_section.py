"""Both machines at 40, 60, 80 and 100 % of their own knee, and their curves over the whole range."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from loadtest import units
from loadtest.analysis.compare import Comparison
from loadtest.analysis.part_load import Level, Pair, part_load
from loadtest.analysis.reading import Reading
from loadtest.report import charts
from loadtest.report.page import Chart, Section, Table

LEAD = (
    "At a share of its own knee each machine answers that share of its rate, so the ratio of rates stays; response "
    "times, busy CPUs and power need not keep it. Two hyper-threads share a core, so a machine that has them looks "
    "less busy than it is. Each cell: {baseline} / {candidate}, and how many times better {candidate} is; without an "
    "interval, fewer than three blocks recorded a curve."
)


def part_load_section(comparison: Comparison, sides: Sequence[Sequence[Reading]]) -> Section | None:
    levels = part_load(comparison, sides)
    pair = [side[0] for side in sides]
    drawn = [chart for chart in (charts.curves_of_arms(pair), charts.power_of_arms(pair)) if chart is not None]
    if not levels and not drawn:
        return None
    parts: list[Table | Chart | str] = [*([_table(levels)] if levels else []), *drawn]
    names = {"baseline": comparison.baseline, "candidate": comparison.candidate}
    return Section("At part load", LEAD.format(**names), parts)


def _table(levels: Sequence[Level]) -> Table:
    columns: list[tuple[str, Callable[[Level], str]]] = [
        ("Of the knee", lambda level: units.percent(level.share, 2)),
        *((name, lambda level, name=name: _cell(level.response_s.get(name), units.seconds))
          for name in levels[0].response_s),
        ("CPUs busy", lambda level: _cell(level.busy, units.percent, bare=True)),
        ("Queries a CPU second", lambda level: _cell(level.per_cpu_second, units.digits)),
        ("Queries a joule, measured", lambda level: _cell(level.per_joule, units.digits)),
        ("Queries a joule, modelled", _modelled),
    ]  # fmt: skip
    cells = {name: [show(level) for level in levels] for name, show in columns}
    kept = [name for name, column in cells.items() if any(column)]
    return Table(kept, [list(row) for row in zip(*(cells[name] for name in kept), strict=True)])


def _cell(pair: Pair | None, show: Callable[[float], str], bare: bool = False) -> str:
    if pair is None:
        return ""
    text = f"{show(pair.baseline)} / {show(pair.candidate)}"
    ratio = pair.ratio
    if ratio is None or bare:
        return text
    ends = f" ({units.interval(ratio.low, ratio.high)})" if math.isfinite(ratio.high) else ""
    return f"{text}, {units.ratio(ratio.estimate)}{ends}"


def _modelled(level: Level) -> str:
    found = level.modelled_per_joule
    return f"{units.ratio(found.p50)} ({units.interval(found.p5, found.p95)})" if found else ""
