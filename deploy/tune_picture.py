"""nDCG over processor time of the searches that `perwatt tune` tried, as one SVG file that stands alone.

Every search is a dot; the front, which nothing beats, is joined and named, and the recommended one stands out. Time is
logarithmic, because the cheapest search costs a hundredth of the dearest. The same figures give the same bytes.
"""

from __future__ import annotations

from loadtest import units
from loadtest.report.svg import OURS, Scale, across, dot, down, path, standing_alone, text
from service.cli.judging import Point, Tuned

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 900, 460, 66, 230, 76, 52
MARGIN = 1.15  # beyond the cheapest and the dearest
LINE = 17  # from a name to the next

LIGHT = (
    f".other{{fill:#b6bec9}}.front{{fill:#4b5563}}.chosen{{fill:{OURS[0]}}}.join{{fill:none;stroke:#4b5563}}"
    ".lead{fill:none;stroke:#b6bec9;stroke-dasharray:1 3}"
    ".bound{stroke:#b6bec9}.grid{stroke:#e5e7eb}.strong{font-weight:700;fill:#111827}"
)
DARK = (
    f".other{{fill:#4a5563}}.front{{fill:#a3adb8}}.chosen{{fill:{OURS[1]}}}.join{{fill:none;stroke:#a3adb8}}"
    ".lead{stroke:#4a5563}.bound{stroke:#4a5563}.grid{stroke:#1f2937}.strong{fill:#e6edf3}"
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
    out += _named(tuned, x, y)
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
    return [*out, dot(*at, 6 if chosen else 4, css)]


def _named(tuned: Tuned, x: Scale, y: Scale) -> list[str]:
    """Names beside the picture, each with a line to its dot: searches that differ little lie too near each other."""
    named = [point for point in tuned.points if point.front or point is tuned.recommended]
    out, least = [], float(TOP)
    for point in sorted(named, key=lambda point: (-point.ndcg.mean, -point.cpu_us.mean)):
        at = x(point.cpu_us.mean), y(point.ndcg.mean)
        least = max(least, at[1])
        out.append(path([at, (WIDTH - RIGHT, least), (WIDTH - RIGHT + 8, least)], "lead"))
        out.append(
            text(WIDTH - RIGHT + 12, least + 4, point.corner.name, "strong" if point is tuned.recommended else "")
        )
        least += LINE
    return out
