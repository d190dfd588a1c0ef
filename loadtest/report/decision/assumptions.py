"""Everything that a decision rests on and was not measured, each with where it comes from, in one table."""

from __future__ import annotations

from collections.abc import Sequence

from loadtest import units
from loadtest.analysis.arm import price_of
from loadtest.analysis.compare import Comparison
from loadtest.analysis.costs.carbon import EMBODIED_SOURCE
from loadtest.analysis.decision import Decision
from loadtest.analysis.engines import effort_in_words, engine_in_words, objective_in_words
from loadtest.analysis.fleet import SHAPES, Demand
from loadtest.analysis.reading import Reading
from loadtest.power.models import coefficients
from loadtest.report.page import Section, Table

GIVEN = "given: "


def assumptions_section(decision: Decision, comparison: Comparison, sides: Sequence[Sequence[Reading]]) -> Section:
    rows = [*_asked(comparison, sides), *_prices(decision, sides), *_fleet(decision.plans.demand)]
    moving = decision.plans.migration_usd
    if moving is not None:
        rows.append(["Moving costs", units.money(moving), f"{GIVEN}--migration-usd"])
    if comparison.modelled is not None:
        used = sorted(
            {(row.model, row.as_of) for row in coefficients() if row.model in comparison.modelled.power.by_model}
        )
        names = ", ".join(f"{model} ({as_of})" for model, as_of in used)
        rows.append(["Power", "modelled", f"{names}; loadtest/power/coefficients.csv"])
    demand = decision.plans.demand
    if demand is not None and demand.grid_kg_per_kwh is not None:
        rows.append(["Making of the servers", "one socket over six years to two over four", EMBODIED_SOURCE])
    return Section("Assumptions", "", [Table(["What", "Value", "From"], rows)])


def _asked(comparison: Comparison, sides: Sequence[Sequence[Reading]]) -> list[list[str]]:
    record = sides[0][0].record
    objective = f"p99 ≤ {units.milliseconds(record.objective.p99_ms)}"
    quality = objective_in_words(record)
    rows = [["Objective", f"{objective}{f' and {quality}' if quality else ''}", "the run records"]]
    if asked := record.asked:
        text = f"{units.count(asked.queries)} {asked.kind} queries, k = {asked.k}, {asked.popularity}"
        rows.append(["Workload", text, "the run records"])
    served = [side[0].record.served for side in sides]
    engines = list(dict.fromkeys(engine_in_words(each) for each in served if each is not None))
    efforts = [
        ", ".join(sorted({effort_in_words(run.record, run.trial) for run in side if run.trial})) or "–"
        for side in sides
    ]
    if engines:
        rows.append(["Engine", " against ".join(engines), "the run records"])
    rows.append(["Search effort", " against ".join(dict.fromkeys(efforts)), "the run records"])
    blocks = comparison.per_second.blocks if comparison.per_second else 0
    rows.append(["Loss that does not matter", f"{comparison.margin:.0%}, over {blocks} blocks", "--margin"])
    return rows


def _prices(decision: Decision, sides: Sequence[Sequence[Reading]]) -> list[list[str]]:
    prices = [price for side in sides if (price := price_of(side))]
    here = {price.instance for price in prices}
    found: dict[tuple[str, str], list[str]] = {}
    told = [(f"{p.purchase}, {p.region}", f"{p.source}, {p.as_of}", p.instance, p.usd_per_hour) for p in prices]
    told += [(o.purchase, f"{o.source}, {o.as_of}", o.instance, o.usd_per_hour) for o in decision.plans.offers]
    for purchase, source, instance, usd in told:
        if instance in here:
            found.setdefault((purchase, source), []).append(f"{instance} ${usd:g}")
    return [
        [f"Price an hour, {purchase}", ", ".join(dict.fromkeys(each)), source]
        for (purchase, source), each in found.items()
    ]


def _fleet(demand: Demand | None) -> list[list[str]]:
    if demand is None:
        return []
    shape = next((name for name, hours in SHAPES.items() if hours == demand.shape), "24 numbers")
    size = "follows the hours" if demand.follows_load else "full size all day"
    rows = [
        ["Peak and day", f"{units.rate(demand.peak_qps)}, {shape}", f"{GIVEN}--peak, --shape"],
        ["Fleet", f"{units.percent(demand.headroom, 2)} headroom, {demand.fewest} machines or more, {size}",
         f"{GIVEN}--headroom, --fewest, --autoscale"],
    ]  # fmt: skip
    grid = "no grid factor" if demand.grid_kg_per_kwh is None else f"{demand.grid_kg_per_kwh:g} kgCO2e a kWh"
    rows.append(["Energy at the meter", f"PUE {demand.pue:g}, {grid}", f"{GIVEN}--pue, --grid"])
    return rows
