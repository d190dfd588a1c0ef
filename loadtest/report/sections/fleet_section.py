"""The fleet view: what the reader's own peak, day and headroom would take on each candidate."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from loadtest import units
from loadtest.analysis.arm import price_of
from loadtest.analysis.costs.carbon import Sci, sci
from loadtest.analysis.fleet import Demand, Fleet, Span, fleet
from loadtest.analysis.reading import Reading
from loadtest.report.page import Section, Table

SCI_WORDS = (
    "E is the energy of the reserved machines, idle hours included, I the grid factor, and M the making of the "
    "servers, one socket over six years to two over four"
)


def fleet_section(arms: Sequence[Sequence[Reading]], demand: Demand) -> Section:
    """A column an arm, from all its blocks; the demand in words above it."""
    missing = [f"{run.place}: {run.no_capacity}" for arm in arms for run in arm if run.capacity is None]
    if missing:
        return Section("Fleet", f"No fleet can be sized: {'; '.join(missing)}.", [])
    sized = [fleet(arm, demand) for arm in arms]
    grid = demand.grid_kg_per_kwh
    hours = "following the hours of the day" if demand.follows_load else "at full size all day"
    carbon = f"{grid:g} kgCO2e a kWh" if grid is not None else "no grid factor given"
    lead = (
        f"For a peak of {units.rate(demand.peak_qps)} with {units.percent(demand.headroom)} headroom and at least "
        f"{demand.fewest} machines, {hours}; PUE {demand.pue:g}, {carbon}. Sized by the confirmed rates of all blocks, "
        "not by the estimates, at both ends of their interval; a month has 730 hours."
    )
    rows = [
        ["One machine answers, q/s", *(_spread(one.each_qps, units.digits) for one in sized)],
        ["  known from", *(one.sized_by for one in sized)],
        ["Machines at the peak", *(_spread(one.machines_at_peak, units.count) for one in sized)],
        ["Used at the peak", *(_spread(one.utilisation_at_peak, units.percent) for one in sized)],
        ["Machine hours a month", *(_spread(one.machine_hours, units.count) for one in sized)],
        ["Price", *(one.price for one in sized)],
        ["Cost a month", *(_spread(one.usd_per_month, units.dollars) for one in sized)],
        ["Energy a month", *(_energy(one.kwh_per_month, "kWh", one) for one in sized)],
    ]
    note = ""
    if grid is not None:
        rows.append(["Carbon a month", *(_energy(one.kg_co2e_per_month, "kgCO2e", one) for one in sized)])
        carbon_of = [sci(one, price_of(arm), demand) for one, arm in zip(sized, arms, strict=True)]
        rows.append(["SCI: CO2e a million queries", *(_sci(one) for one in carbon_of)])
        note = f"SCI (Green Software Foundation) = E · I + M for a million queries at the objective: {SCI_WORDS}."
    return Section("Fleet", lead, [Table(["", *(one.arm for one in sized)], rows, note)])


def _sci(found: Sci) -> str:
    if found.total_kg is None or found.energy_kg is None or found.embodied_kg is None:
        return f"not known: {found.why}"
    return f"{_spread(found.total_kg, units.grams)}, of it making {_spread(found.embodied_kg, units.grams)}"


def _spread(span: Span | None, show: Callable[[float], str]) -> str:
    """The value, and its interval where that reads differently."""
    if span is None:
        return "–"
    mid, ends = show(span.mid), units.spread(span.low, span.high, show)
    return mid if mid == ends else f"{mid} ({ends})"


def _energy(span: Span | None, unit: str, one: Fleet) -> str:
    return f"{_spread(span, units.digits)} {unit}, {one.evidence}" if span else f"none: {one.why_no_energy}"
