"""From a knee to a bill: how many machines a real day needs, what they cost a month, and what they draw.

The user gives the peak rate, the shape of the day and the headroom; nothing is assumed about them silently. Every
machine serves the same share of the load; the fleet either stays at its peak size or follows the hours. Energy is power
at each hour's utilisation times PUE, with the interval that power has; carbon is energy times the grid factor that was
given.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import msgspec

from loadtest.errors import LoadTestError
from loadtest.power.models import modelled_watts
from loadtest.prices.table import HOURS_A_MONTH
from loadtest.reading import capacity, headline_trial, side_of
from loadtest.record import Record

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


class Fleet(msgspec.Struct, frozen=True):
    """One candidate's month. Energy is an interval; its evidence class is named; None where nothing is known."""

    arm: str
    machines_at_peak: int
    machine_hours: float
    usd_per_month: float | None
    kwh_per_month: tuple[float, float, float] | None
    kg_co2e_per_month: tuple[float, float, float] | None
    evidence: str
    utilisation_at_peak: float
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


def fleet(record: Record, demand: Demand) -> Fleet:
    """The fleet of machines like the one in `record` that carries the demand."""
    if not 0 <= demand.headroom < 1 or demand.pue < 1 or demand.peak_qps <= 0:
        raise LoadTestError(
            f"cannot size a fleet for {demand.peak_qps} q/s with headroom {demand.headroom} and PUE {demand.pue}: "
            "expected a rate above 0, headroom of 0 to below 1, PUE of at least 1"
        )
    found = capacity(record)
    if found is None or not (found.sustained_qps or found.qps):
        raise LoadTestError(f"{record.label.arm} has no valid capacity to size a fleet by")
    each = found.sustained_qps or found.low  # a fleet is sized by what was promised, not by the estimate
    usable = each * (1 - demand.headroom)

    def machines(rate: float) -> int:
        return max(math.ceil(rate / usable - 1e-9), demand.fewest)

    peak = machines(demand.peak_qps)
    days = HOURS_A_MONTH / 24
    rates = [demand.peak_qps * share for share in demand.shape]
    sizes = [machines(rate) if demand.follows_load else peak for rate in rates]
    hours = sum(sizes) * days
    kwh = _energy_kwh(record, rates, sizes, each, demand.pue)
    grid = demand.grid_kg_per_kwh
    return Fleet(
        arm=record.label.arm,
        machines_at_peak=peak,
        machine_hours=hours,
        usd_per_month=hours * record.price.usd_per_hour if record.price else None,
        kwh_per_month=kwh[0],
        kg_co2e_per_month=_times(kwh[0], grid) if kwh[0] and grid is not None else None,
        evidence=kwh[1],
        utilisation_at_peak=demand.peak_qps / (peak * each),
        price=record.price.stated() if record.price else "no price",
    )


def _times(values: tuple[float, float, float], factor: float) -> tuple[float, float, float]:
    return values[0] * factor, values[1] * factor, values[2] * factor


def _energy_kwh(
    record: Record, rates: Sequence[float], sizes: Sequence[int], each_qps: float, pue: float
) -> tuple[tuple[float, float, float] | None, str]:
    """A month's kWh (low, middle, high) at the meter, from the measured load curve if there is one, else modelled."""
    points = sorted(
        (t.achieved_qps / each_qps, t.energy.joules / t.energy.window_s)
        for t in record.trials
        if t.role in ("idle", "curve") and t.energy is not None
    )
    trial = headline_trial(record)
    measured = len(points) >= 3 and trial is not None and not record.shared
    side = side_of(record)
    total = [0.0, 0.0, 0.0]
    for rate, size in zip(rates, sizes, strict=True):
        share = min(rate / (size * each_qps), 1.0)
        if measured:
            watts = [_interpolate(points, share)] * 3
        elif side is not None:
            found = modelled_watts(side.microarchitecture, side.cores, share * side.utilisation)
            if found is None:
                return None, "none"
            watts = [found.low_w, found.mid_w, found.high_w]
        else:
            return None, "none"
        for i, value in enumerate(watts):
            total[i] += value * size
    days = HOURS_A_MONTH / 24
    low, mid, high = (value * days * pue / 1000 for value in total)
    return (low, mid, high), "measured" if measured else "modelled"


def _interpolate(points: Sequence[tuple[float, float]], x: float) -> float:
    for (x0, y0), (x1, y1) in pairwise(points):
        if x <= x1:
            return y0 + (y1 - y0) * max(x - x0, 0) / (x1 - x0) if x1 > x0 else y1
    return points[-1][1]
