"""Queries a second over recall as one SVG file that stands alone: its own background, light or dark like the system.

Up and right is better. Recall is stretched towards 1 by −log10(1 − recall), since 0.99 → 0.995 is as hard as 0.9 →
0.95, and the rate is logarithmic, so equal ratios are equal distances. Each line bears its name at its right end. The
same figures give the same bytes.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from index.bench.ann.targets import says
from loadtest.report.svg import OURS, Scale, across, dot, down, path, standing_alone, text

WIDTH, HEIGHT = 900, 580
LEFT, RIGHT, TOP, BOTTOM = 66, 232, 62, 58
LEAST_RECALL, MOST_RECALL = 0.7, 0.998
TICKS = (0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995)
LABEL_PIXELS = 15.5  # from one name to the next

LIGHT = """
.grid{stroke:#e4e7eb}.axis{stroke:#8a929c}.target{stroke:#8a929c;stroke-dasharray:3 4}.ours{font-weight:700}
.line{fill:none;stroke-width:1.6;stroke-linejoin:round}.line.ours{stroke-width:3.4}
.line.also{stroke-width:1.8;stroke-dasharray:6 4}.leader{fill:none;stroke:#c3c9d1;stroke-width:1}
"""
DARK = ".grid{stroke:#242b35}.axis,.target{stroke:#6e7781}.leader{stroke:#3d4650}"
HUES = (  # light, dark: colours of one lightness, told apart by hue; ours alone is strong
    ("#b45309", "#e0a03c"),
    ("#1d6fd1", "#6cb0ff"),
    ("#0f8a6d", "#4ccfae"),
    ("#7c4ddb", "#b699ff"),
    ("#5f7a12", "#a9c94f"),
    ("#a3412f", "#f08c78"),
    ("#0b7c99", "#56c5e0"),
    ("#6b7280", "#a5aebb"),
)


class Drawn(NamedTuple):
    label: str
    css: str
    points: list[tuple[float, float]]  # recall, queries a second; ascending


def stretched(recall: float) -> float:
    return -math.log10(1 - recall)


def picture(figures: dict[str, Any]) -> str:
    """SVG of the first case (the least k and threads). Engines without two points in the picture have a dot."""
    case = f"k{figures['k'][0]}_t{figures['threads'][0]}"
    drawn = [
        line for line in (_line(each, place, case) for place, each in enumerate(figures["engines"])) if line.points
    ]
    rates = [rate for line in drawn for _, rate in line.points] or [1.0, 10.0]
    x = Scale(stretched(LEAST_RECALL), stretched(MOST_RECALL), LEFT, WIDTH - RIGHT)
    y = Scale(min(rates) / 1.15, max(rates) * 1.15, HEIGHT - BOTTOM, TOP, log=True)
    vectors = figures["vectors"]
    title = f"Queries a second over recall@{figures['k'][0]}, {figures['threads'][0]} thread"
    title += "s" * (figures["threads"][0] > 1)
    about = f"{vectors['name']}: {vectors['rows']:,} × {vectors['dim']}, {vectors['metric']}. {_host(figures)}"
    out = _axes(x, y)
    for line in sorted(drawn, key=lambda line: "ours" in line.css):
        out += _line_of(line, x, y)
    out += _names(drawn, x, y)
    aloud = f"{title}, {says(case)}. {about}"
    light, dark = LIGHT + _colours(0), DARK + _colours(1)
    return standing_alone(WIDTH, HEIGHT, title, about, aloud, out, light=light, dark=dark)


def _host(figures: dict[str, Any]) -> str:
    host = figures["machine"]
    return f"{host['cpu'].replace('(R)', '')}, {host['isa']}, {figures['measured_at'][:10]}"


def _colours(which: int) -> str:
    """Of the lines, their dots and their names: light (0) or dark (1)."""
    hues = {f"c{i}": hue[which] for i, hue in enumerate(HUES)} | {"o": OURS[which]}
    return "".join(
        f".{css}{{stroke:{hue}}}text.{css},circle.{css}{{fill:{hue};stroke:none}}" for css, hue in hues.items()
    )


def _line(engine: dict[str, Any], place: int, case: str) -> Drawn:
    css = f"c{place % len(HUES)}" if not engine["ours"] else "o ours" if engine["name"] == "perwatt" else "o also"
    points = engine["cases"].get(case, {}).get("points", [])
    best: dict[float, float] = {}
    for point in points:
        if LEAST_RECALL <= point["recall"] <= MOST_RECALL or (point["recall"] > MOST_RECALL and len(points) == 1):
            recall = min(point["recall"], MOST_RECALL)
            best[recall] = max(best.get(recall, 0.0), point["qps"])
    front: list[tuple[float, float]] = []
    for recall, rate in sorted(best.items(), reverse=True):  # only what nothing better in both ways overshadows
        if not front or rate > front[-1][1]:
            front.append((recall, rate))
    return Drawn(engine["label"], css, front[::-1])


def _axes(x: Scale, y: Scale) -> list[str]:
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    out = []
    for value in y.ticks(6):
        out.append(across(LEFT, right, y(value), "grid"))
        out.append(text(LEFT - 8, y(value) + 4, f"{value:,.0f}", anchor="end"))
    for recall in TICKS:
        at = x(stretched(recall))
        out.append(down(at, TOP, bottom, "target" if recall in (0.9, 0.95, 0.99) else "grid"))
        out.append(text(at, bottom + 18, f"{recall:g}", anchor="middle"))
    out.append(across(LEFT, right, bottom, "axis"))
    out.append(text((LEFT + right) / 2, HEIGHT - 16, "recall (up and to the right is better)", anchor="middle"))
    return out


def _line_of(line: Drawn, x: Scale, y: Scale) -> list[str]:
    placed = [(x(stretched(recall)), y(rate)) for recall, rate in line.points]
    radius = 3.6 if "ours" in line.css else 2.4
    dots = [dot(*place, radius, line.css.split()[0]) for place in placed]
    return [path(placed, f"line {line.css}"), *dots] if len(placed) > 1 else dots


def _names(drawn: list[Drawn], x: Scale, y: Scale) -> list[str]:
    """Names in a column at the right, in the order of their lines' ends, each joined to its end."""
    ends = sorted((y(line.points[-1][1]), x(stretched(line.points[-1][0])), line) for line in drawn)
    places = spread([end for end, _, _ in ends], LABEL_PIXELS, TOP, HEIGHT - BOTTOM)
    out, column = [], WIDTH - RIGHT + 24
    for (end, at, line), place in zip(ends, places, strict=True):
        out.append(path([(at + 5, end), (column - 10, place), (column - 3, place)], "leader"))
        css = line.css.split()[0] + (" ours" if "ours" in line.css else "")
        out.append(text(column, place + 4, line.label, css))
    return out


def spread(wanted: list[float], gap: float, low: float, high: float) -> list[float]:
    """Ascending places near the wanted ones, at least `gap` apart, between low and high where they all fit."""
    places: list[float] = []
    for place in wanted:
        places.append(max(place, places[-1] + gap) if places else max(place, low))
    ceiling = high
    for i in range(len(places) - 1, -1, -1):
        places[i] = min(places[i], ceiling)
        ceiling = places[i] - gap
    return places
