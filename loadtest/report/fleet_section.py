"""The fleet view: what the reader's own peak, day and headroom would take on each candidate."""

from __future__ import annotations

from collections.abc import Sequence

from loadtest import units
from loadtest.fleet import Demand, Fleet, fleet
from loadtest.reading import capacity
from loadtest.record import Record
from loadtest.report.page import Section, Table


def fleet_section(records: Sequence[Record], demand: Demand) -> Section:
    """A column a record (the first of each arm), the demand in words above it."""
    sized = [(record.label.arm, fleet(record, demand)) for record in records if capacity(record) is not None]
    if not sized:
        return Section("Fleet", "No run has a capacity, so no fleet can be sized.", [])
    grid = demand.grid_kg_per_kwh
    hours = "following the hours of the day" if demand.follows_load else "at full size all day"
    carbon = f"{grid:g} kgCO2e a kWh" if grid is not None else "no grid factor given"
    lead = (
        f"For a peak of {units.rate(demand.peak_qps)} with {units.percent(demand.headroom)} headroom and at least "
        f"{demand.fewest} machines, {hours}; PUE {demand.pue:g}, {carbon}. Sized by the confirmed rate, not by the "
        "estimate; a month has 730 hours."
    )
    rows = [
        ["Machines at the peak", *(units.count(one.machines_at_peak) for _, one in sized)],
        ["Used at the peak", *(units.percent(one.utilisation_at_peak) for _, one in sized)],
        ["Machine hours a month", *(units.count(one.machine_hours) for _, one in sized)],
        ["Price", *(one.price for _, one in sized)],
        ["Cost a month", *(units.dollars(one.usd_per_month) if one.usd_per_month else "–" for _, one in sized)],
        ["Energy a month", *(_interval(one.kwh_per_month, "kWh", one) for _, one in sized)],
        ["Carbon a month", *(_interval(one.kg_co2e_per_month, "kgCO2e", one) for _, one in sized)],
    ]
    return Section("Fleet", lead, [Table(["", *(arm for arm, _ in sized)], rows)])


def _interval(values: tuple[float, float, float] | None, unit: str, one: Fleet) -> str:
    if values is None:
        return "–"
    low, _, high = (units.digits(value) for value in values)
    return f"{low if low == high else f'{low} to {high}'} {unit} ({one.evidence})"
