"""Bars of the encoders' rates as one SVG file that stands alone: its own background, light or dark like the system.

Two questions side by side: one short query on one core, and documents on all cores. Longer is better; every bar bears
its number and each panel its own scale. The same figures give the same bytes.
"""

from __future__ import annotations

from typing import Any

from embed.bench.encode import CASES, LABELS, WHAT
from loadtest.report.svg import OURS, bar, standing_alone, text

WIDTH, LEFT, GAP, RIGHT = 900, 210, 34, 62
TOP, ROW, BAR = 84, 27, 17
PANELS = {"query1": "8-token queries/s, one at a time, one core", "documents": "256-token documents/s, all cores"}

LIGHT = (
    f".bar{{fill:#b6bec9}}.ours{{fill:{OURS[0]}}}.also{{fill:#f2a5c6}}"
    ".head{font-weight:600;fill:#111827}.strong{font-weight:700;fill:#111827}"
)
DARK = f".bar{{fill:#4a5563}}.ours{{fill:{OURS[1]}}}.also{{fill:#8a3b61}}.head,.strong{{fill:#e6edf3}}"


def picture(measured: dict[str, Any]) -> str:
    """SVG of kept figures; contenders from the fastest on documents to the slowest."""
    figures = measured["figures"]
    units = {case.name: case.unit for case in CASES}
    cases = {name: figures["cases"][name] for name in PANELS}
    names = sorted(cases["documents"], key=lambda name: float(cases["documents"][name]["ms_per_call"]))
    height = TOP + ROW * len(names) + 18
    title = f"Text to vector: {figures['model']}"
    about = f"{measured['machine']['cpu'].replace('(R)', '')}, {figures['unit']}, {measured['measured_on']}"
    out = []
    for row, name in enumerate(names):
        out.append(text(LEFT - 10, _middle(row) + 4, LABELS[name], "strong" if name == "perwatt_int8" else "", "end"))
    span = (WIDTH - LEFT - GAP - 2 * RIGHT) / 2
    for panel, (case, head) in enumerate(PANELS.items()):
        start = LEFT + panel * (span + RIGHT + GAP)
        rates = {name: float(cases[case][name][f"{units[case]}_per_s"]) for name in names}
        out.append(text(start, TOP - 12, head, "head"))
        for row, name in enumerate(names):
            css = {"perwatt_int8": "ours", "perwatt_fp32": "also"}.get(name, "bar")
            width = max(span * rates[name] / max(rates.values()), 1.0)
            out.append(bar(start, _middle(row) - BAR / 2, width, BAR, css))
            label = f"{rates[name]:,.0f}"
            out.append(text(start + width + 6, _middle(row) + 4, label, "strong" if css == "ours" else ""))
    aloud = f"{title}. {_says(figures, names)}"
    return standing_alone(WIDTH, height, title, about, aloud, out, light=LIGHT, dark=DARK)


def _says(figures: dict[str, Any], names: list[str]) -> str:
    """The documents panel in words, for who cannot see it."""
    rates = figures["cases"]["documents"]
    return f"{WHAT['documents']}, documents a second: " + ", ".join(
        f"{LABELS[name]} {rates[name]['documents_per_s']:,.0f}" for name in names
    )


def _middle(row: int) -> float:
    return TOP + ROW * row + ROW / 2
