"""From knees to a bill: how many machines a real day needs, what they cost a month, and what they draw.

The user gives the peak rate, the shape of the day and the headroom; nothing is assumed about them silently. What a
machine can do is the mean of all blocks of its arm, with the interval of that mean: one block is one machine's luck,
and a fleet is many machines. The fleet is sized for both ends of it too, so machines, dollars, energy and carbon are
intervals. Every machine serves the same share of the load; the fleet either stays at its peak size or follows the
hours. Energy is power at each hour's utilisation times PUE, with the interval that power has on top; carbon is energy
times the grid factor that was given.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from statistics import fmean
from typing import NamedTuple

import msgspec

from loadtest.analysis.arm import price_of, side_of
from loadtest.analysis.figure import PerJoule
from loadtest.analysis.ratio import FEWEST, geometric_mean
from loadtest.analysis.reading import Reading
from loadtest.errors import LoadTestError
from loadtest.power.models import Side, modelled_watts
from loadtest.prices.price import HOURS_A_MONTH

# Share of the peak in each hour of the day, midnight first. "office" is a single-timezone working day, "evening" a
# consumer
# service; both are round numbers to start a discussion with, not measurements.
SHAPES: dict[str, tuple[float, ...]] = {
    "flat": (1.0,) * 24,
    "office": (
        0.1, 0.1, 0.1, 0.1, 0.1, 0.15, 0.3, 0.55, 0.85, 1.0, 1.0, 0.95,
        0.85, 0.95, 1.0, 0.95, 0.85, 0.65, 0.45, 0.35, 0.25, 0.2, 0.15, 0.1,
    ),
    "evening": (
        0.45, 0.3, 0.2, 0.15, 0.15, 0.15, 0.2, 0.3, 0.4, 0.45, 0.5, 0.55,
        0.6, 0.6, 0.6, 0.6, 0.65, 0.7, 0.8, 0.9, 1.0, 1.0, 0.85, 0.65,
    ),
}  # fmt: skip


class Demand(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`headroom` 0.3 keeps 30 % of a machine's capacity free at the peak; `grid_kg_per_kwh` is location based."""

    peak_qps: float
    shape: tuple[float, ...]
    headroom: float = 0.3
    pue: float = 1.2
    grid_kg_per_kwh: float | None = None
    fewest: int = 2
    follows_load: bool = False


class Span(NamedTuple):
    """A value and the interval that holds it; the ends are the value where nothing is uncertain."""

    low: float
    mid: float
    high: float

    def times(self, factor: float) -> Span:
        return Span(self.low * factor, self.mid * factor, self.high * factor)


class Fleet(msgspec.Struct, frozen=True):
    """One candidate's month. Energy's evidence class is named; None where nothing is known, and then `why` says it."""

    arm: str
    each_qps: Span  # of one machine at the objective
    sized_by: str
    machines_at_peak: Span
    machine_hours: Span
    utilisation_at_peak: Span
    usd_per_month: Span | None
    kwh_per_month: Span | None
    kg_co2e_per_month: Span | None
    evidence: str
    why_no_energy: str
    price: str


def parse_shape(text: str) -> tuple[float, ...]:
    """A name of SHAPES, or 24 numbers separated by commas (scaled so that the highest is 1)."""
    if text in SHAPES:
        return SHAPES[text]
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    if len(values) != 24 or min(values) < 0 or max(values) <= 0:
        raise LoadTestError(f"--shape {text!r}: expected {', '.join(SHAPES)}, or 24 numbers, an hour each, not all 0")
    return tuple(value / max(values) for value in values)


def fleet(runs: Sequence[Reading], demand: Demand) -> Fleet:
    """The fleet of machines like the one of an arm, from all its blocks, that carries the demand."""
    if not 0 <= demand.headroom < 1 or demand.pue < 1 or demand.peak_qps <= 0:
        raise LoadTestError(
            f"cannot size a fleet for {demand.peak_qps} q/s with headroom {demand.headroom} and PUE {demand.pue}: "
            "expected a rate above 0, headroom of 0 to below 1, PUE of at least 1"
        )
    each, sized_by = promised(runs)
    price = price_of(runs)
    most, mid, least = (_day(demand, qps) for qps in each)  # the slower a machine is, the more of them
    hours = Span(least.hours, mid.hours, most.hours)
    kwh, evidence, why = _kwh_per_month(runs, (least, mid, most), demand.pue)
    grid = demand.grid_kg_per_kwh
    return Fleet(
        arm=runs[0].arm,
        each_qps=each,
        sized_by=sized_by,
        machines_at_peak=Span(least.peak, mid.peak, most.peak),
        machine_hours=hours,
        utilisation_at_peak=Span(*sorted(demand.peak_qps / (day.peak * day.each_qps) for day in (least, mid, most))),
        usd_per_month=hours.times(price.usd_per_hour) if price else None,
        kwh_per_month=kwh,
        kg_co2e_per_month=kwh.times(grid) if kwh and grid is not None else None,
        evidence=evidence,
        why_no_energy=why,
        price=price.stated() if price else f"no price: {runs[0].no_price}",
    )


def promised(runs: Sequence[Reading]) -> tuple[Span, str]:
    """What one machine of the arm answers at the objective, by what was confirmed and not by the estimate, and where
    it comes from. LoadTestError when a block has no capacity: leaving it out would leave out a slow one."""
    found = []
    for run in runs:
        if run.capacity is None or not (run.capacity.sustained_qps or run.capacity.qps):
            raise LoadTestError(f"{run.place} has no capacity to size a fleet by: {run.no_capacity}")
        found.append(run.capacity)
    each = [here.promised_qps for here in found]
    mean = geometric_mean(each)
    unconfirmed = sum(not here.sustained_qps for here in found)
    told = f"; {unconfirmed} not confirmed, which counts with the lower end of its search" if unconfirmed else ""
    if mean.blocks >= FEWEST:
        return Span(mean.low, mean.estimate, mean.high), f"mean of {mean.blocks} blocks and its 95 % interval{told}"
    low = min(qps * here.low / here.qps for qps, here in zip(each, found, strict=True))
    high = max(qps * here.high / here.qps for qps, here in zip(each, found, strict=True))
    blocks = "1 block" if mean.blocks == 1 else f"{mean.blocks} blocks"
    return Span(
        low, mean.estimate, high
    ), f"{blocks}: the interval is that inside a run, not that between machines{told}"


def hours_a_month(demand: Demand, each_qps: float, committed: bool = False) -> float:
    """Machine hours of machines that answer `each_qps`; `committed` ones are paid for at the peak's size all day."""
    day = _day(demand, each_qps)
    return day.peak * HOURS_A_MONTH if committed else day.hours


class _Day(NamedTuple):
    """A fleet of machines that answer `each_qps`, hour by hour. hours: machine hours of a month."""

    each_qps: float
    rates: list[float]
    sizes: list[int]
    peak: int
    hours: float


def _day(demand: Demand, each_qps: float) -> _Day:
    usable = each_qps * (1 - demand.headroom)

    def machines(rate: float) -> int:
        return max(math.ceil(rate / usable - 1e-9), demand.fewest)

    peak = machines(demand.peak_qps)
    rates = [demand.peak_qps * share for share in demand.shape]
    sizes = [machines(rate) if demand.follows_load else peak for rate in rates]
    return _Day(each_qps, rates, sizes, peak, sum(sizes) * HOURS_A_MONTH / 24)


def _kwh_per_month(runs: Sequence[Reading], days: tuple[_Day, _Day, _Day], pue: float) -> tuple[Span | None, str, str]:
    """A month's kWh at the meter from the measured load curves if there are any, else modelled; its evidence class;
    and why there is none. The lower end is that of the smaller fleet and the lower power."""
    watts = _measured_watts(runs)
    evidence = "measured"
    if watts is None:
        side, why = side_of(runs), runs[0].no_model
        if side is None or why is not None:
            return None, "none", PerJoule.none(runs[0].no_joules, why or "").how
        watts, evidence = _modelled_watts(side), "modelled"
    ends = []
    for end, day in enumerate(days):
        total = 0.0
        for rate, size in zip(day.rates, day.sizes, strict=True):
            total += watts(min(rate / (size * day.each_qps), 1.0))[end] * size
        ends.append(total * HOURS_A_MONTH / 24 * pue / 1000)
    return Span(*ends), evidence, ""


def _measured_watts(runs: Sequence[Reading]) -> Callable[[float], Span] | None:
    """Watts of a machine by its utilisation: the mean and the extremes of the blocks that recorded a load curve; None
    when none did, when the generator is in the joules too, or when unlike domains were metered."""
    curves, domains = [], set()
    for run in runs:
        if run.capacity is None or run.trial is None or run.record.shared or run.record.elsewhere:
            continue
        if len(run.metered_levels) >= 3:
            each_qps = run.capacity.promised_qps
            curves.append(sorted((t.achieved_qps / each_qps, energy.watts) for t, energy in run.metered_levels))
            domains |= {energy.domain for _, energy in run.metered_levels}
    if not curves or len(domains) != 1:
        return None

    def watts(share: float) -> Span:
        found = [_interpolate(points, share) for points in curves]
        return Span(min(found), fmean(found), max(found))

    return watts


def _modelled_watts(side: Side) -> Callable[[float], Span]:
    def watts(share: float) -> Span:
        found = modelled_watts(side.microarchitecture, side.cores, share * side.utilisation)
        assert found is not None
        return Span(found.low_w, found.mid_w, found.high_w)

    return watts


def _interpolate(points: Sequence[tuple[float, float]], x: float) -> float:
    for (x0, y0), (x1, y1) in pairwise(points):
        if x <= x1:
            return y0 + (y1 - y0) * max(x - x0, 0) / (x1 - x0) if x1 > x0 else y1
    return points[-1][1]
