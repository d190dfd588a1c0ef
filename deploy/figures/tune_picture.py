"""nDCG over processor time of the searches that `perwatt tune` tried, as one SVG file that stands alone.

Every search is a dot; the front, which nothing beats, is joined and named, and the recommended one stands out. Time is
logarithmic, because the cheapest search costs a hundredth of the dearest. The same figures give the same bytes.
"""

from __future__ import annotations

from loadtest import units
from loadtest.report.svg import OURS, Scale, across, dot, down, path, standing_alone, text
from service.cli.tuning import Point, Tuned

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 900, 460, 66, 230, 76, 52
MARGIN = 1.15  # beyond the cheapest and the dearest

LIGHT = (
    f".other{{fill:#b6bec9}}.front{{fill:#4b5563}}.chosen{{fill:{OURS[0]}}}.join{{fill:none;stroke:#4b5563}}"
    ".bound{stroke:#b6bec9}.grid{stroke:#e5e7eb}.strong{font-weight:700;fill:#111827}"
)
DARK = (
    f".other{{fill:#4a5563}}.front{{fill:#a3adb8}}.chosen{{fill:{OURS[1]}}}.join{{fill:none;stroke:#a3adb8}}"
    ".bound{stroke:#4a5563}.grid{stroke:#1f2937}.strong{fill:#e6edf3}"
)


def picture(name: str, tuned: Tuned) -> str:
    """SVG of what was measured on index `name`."""
    points = tuned.points
    x = Scale(
        min(point.cpu_us.mean for point in points) / MARGIN,
        max(point.cpu_us.mean for point in points) * MARGIN,
        LEFT,
        WIDTH - RIGHT,
        log=True,
    )
    y = Scale(min(p.ndcg.low for p in points), max(p.ndcg.high for p in points), HEIGHT - BOTTOM, TOP)
    out = [text(LEFT, TOP - 12, "nDCG, with its 95 % interval")]
    for tick in y.ticks(6):
        out += [across(LEFT, WIDTH - RIGHT, y(tick), "grid"), text(LEFT - 8, y(tick) + 4, f"{tick:.3g}", anchor="end")]
    for tick in x.ticks(6):
        out += [
            down(x(tick), TOP, HEIGHT - BOTTOM, "grid"),
            text(x(tick), HEIGHT - BOTTOM + 18, units.seconds(tick / 1e6), anchor="middle"),
        ]
    out.append(text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 12, "processor time of a query, one thread", anchor="middle"))
    front = [point for point in points if point.front]
    out.append(path([(x(point.cpu_us.mean), y(point.ndcg.mean)) for point in front], "join"))
    for point in points:
        out += _drawn(point, point is tuned.recommended, x, y)
    title = f"{name}: what a search costs and is worth"
    about = f"{tuned.queries:,} judged queries; the line joins the searches that nothing beats"
    aloud = f"{title}. " + "; ".join(
        f"{point.corner.name}: nDCG {point.ndcg.mean:.3f} for {units.seconds(point.cpu_us.mean / 1e6)}"
        for point in front
    )
    return standing_alone(WIDTH, HEIGHT, title, about, aloud, out, light=LIGHT, dark=DARK)


def _drawn(point: Point, chosen: bool, x: Scale, y: Scale) -> list[str]:
    at = x(point.cpu_us.mean), y(point.ndcg.mean)
    css = "chosen" if chosen else "front" if point.front else "other"
    out = [down(at[0], y(point.ndcg.low), y(point.ndcg.high), "bound")] if point.front or chosen else []
    out.append(dot(*at, 6 if chosen else 4, css))
    if point.front or chosen:
        out.append(text(at[0] + 9, at[1] + 4, point.corner.name, "strong" if chosen else ""))
    return out
