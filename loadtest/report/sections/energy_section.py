"""Joules: what was measured or modelled of them, or why there are none."""

from __future__ import annotations

import math

from loadtest import units
from loadtest.analysis.reading import Reading
from loadtest.report import charts
from loadtest.report.page import Chart, Section, Table


def energy_section(reading: Reading) -> Section:
    found = reading.per_joule
    parts: list[Table | Chart | str] = []
    lead = {
        "measured": f"Measured: {found.how}. The domain is {found.domain}; joules of another domain must not be "
        "set against it.",
        "modelled": (
            f"Nothing here was measured: {reading.no_joules}. Published models and SPECpower results give the "
            "interval; they disagree with each other by more than most differences between machines."
        ),
        "none": f"There are no joules in this report: {found.how}. What holds without them is the break-even "
        "power ratio of a comparison.",
    }[found.evidence]
    share, how = reading.utilisation
    rows = []
    if found.evidence != "none" and not math.isnan(found.mid):
        rows.append(
            ["Queries a joule", f"{units.digits(found.low)} / {units.digits(found.mid)} / {units.digits(found.high)}"]
        )
        rows.append(
            [
                "Joules a query",
                " / ".join(units.joules(1 / v) if v else "–" for v in (found.high, found.mid, found.low)),
            ]
        )
    rows.append(["Utilisation at the headline load", f"{units.percent(share)} ({how})"])
    if reading.per_joule_over_curve is not None:
        rows.append(["Queries a joule over the whole curve", units.digits(reading.per_joule_over_curve)])
    rows += [["Idle", units.watts(energy.watts)] for trial, energy in reading.metered_levels if trial.role == "idle"]
    parts.append(Table(["", "low / middle / high" if found.evidence == "modelled" else "value"], rows))
    chart = charts.power_curve(reading)
    if chart is not None:
        parts.insert(0, chart)
    parts += [f"Not used: {note}" for note in reading.record.power_notes]
    return Section("Energy", lead, parts)
