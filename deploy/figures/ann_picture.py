"""Queries a second over recall as one SVG file that stands alone: its own background, light or dark like the system.

Up and right is better. Recall is stretched towards 1 by −log10(1 − recall), since 0.99 → 0.995 is as hard as 0.9 →
0.95, and the rate is logarithmic, so equal ratios are equal distances. Each line bears its name at its right end. The
same figures give the same bytes.
"""

from __future__ import annotations

import math
from html import escape
from typing import Any, NamedTuple

from index.bench.ann.targets import says
from loadtest.report.svg import Scale, number

WIDTH, HEIGHT = 900, 580
LEFT, RIGHT, TOP, BOTTOM = 66, 232, 62, 58
LEAST_RECALL, MOST_RECALL = 0.7, 0.998
TICKS = (0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995)
LABEL_PIXELS = 15.5  # from one name to the next

# light, dark: colours of one lightness, told apart by hue; ours alone is strong.
STYLE = """
.ground{fill:#fff}.grid{stroke:#e4e7eb}.axis{stroke:#8a929c}.target{stroke:#8a929c;stroke-dasharray:3 4}
text{font:12px system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;fill:#4b5563}
.title{font-size:15px;font-weight:600;fill:#111827}.ours{font-weight:700}
.line{fill:none;stroke-width:1.6;stroke-linejoin:round}.line.ours{stroke-width:3.4}
.line.also{stroke-width:1.8;stroke-dasharray:6 4}
.leader{stroke:#c3c9d1;stroke-width:1}
"""
DARK = """
.ground{fill:#0d1117}.grid{stroke:#242b35}.axis{stroke:#6e7781}.target{stroke:#6e7781}
text{fill:#a3adb8}.title{fill:#e6edf3}.leader{stroke:#3d4650}
"""
OURS = ("#d6156c", "#ff6aa8")
HUES = (
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
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        f'role="img" aria-label="{escape(title + ", " + says(case) + ". " + about, quote=True)}">',
        f"<style>{_style()}</style>",
        f'<rect class="ground" width="{WIDTH}" height="{HEIGHT}" rx="8"/>',
        _text(18, 26, title, "title"),
        _text(18, 46, about, ""),
        *_axes(x, y),
    ]
    for line in sorted(drawn, key=lambda line: "ours" in line.css):
        out.append(_path(line, x, y))
    out += _names(drawn, x, y)
    return "".join([*out, "</svg>\n"])


def _host(figures: dict[str, Any]) -> str:
    host = figures["machine"]
    return f"{host['cpu'].replace('(R)', '')}, {host['isa']}, {figures['measured_at'][:10]}"


def _style() -> str:
    def colours(which: int) -> str:
        rules = [
            f".c{i}{{stroke:{hue[which]}}}text.c{i},circle.c{i}{{fill:{hue[which]};stroke:none}}"
            for i, hue in enumerate(HUES)
        ]
        ours = OURS[which]
        return "".join([*rules, f".o{{stroke:{ours}}}text.o,circle.o{{fill:{ours};stroke:none}}"])

    dark = DARK.replace("\n", "") + colours(1)
    return STYLE.replace("\n", "") + colours(0) + f"@media (prefers-color-scheme:dark){{{dark}}}"


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
        out.append(f'<line class="grid" x1="{LEFT}" x2="{right}" y1="{number(y(value))}" y2="{number(y(value))}"/>')
        out.append(_text(LEFT - 8, y(value) + 4, f"{value:,.0f}", "", "end"))
    for recall in TICKS:
        at = x(stretched(recall))
        kind = "target" if recall in (0.9, 0.95, 0.99) else "grid"
        out.append(f'<line class="{kind}" x1="{number(at)}" x2="{number(at)}" y1="{TOP}" y2="{bottom}"/>')
        out.append(_text(at, bottom + 18, f"{recall:g}", "", "middle"))
    out.append(f'<line class="axis" x1="{LEFT}" x2="{right}" y1="{bottom}" y2="{bottom}"/>')
    out.append(_text((LEFT + right) / 2, HEIGHT - 16, "recall (up and to the right is better)", "", "middle"))
    return out


def _path(line: Drawn, x: Scale, y: Scale) -> str:
    placed = [(x(stretched(recall)), y(rate)) for recall, rate in line.points]
    hue = line.css.split()[0]
    radius = 3.6 if "ours" in line.css else 2.4
    dots = "".join(f'<circle class="{hue}" cx="{number(a)}" cy="{number(b)}" r="{radius}"/>' for a, b in placed)
    path = "M" + "L".join(f"{number(a)} {number(b)}" for a, b in placed)
    return f'<path class="line {line.css}" d="{path}"/>{dots}' if len(placed) > 1 else dots


def _names(drawn: list[Drawn], x: Scale, y: Scale) -> list[str]:
    """Names in a column at the right, in the order of their lines' ends, each joined to its end."""
    ends = sorted((y(line.points[-1][1]), x(stretched(line.points[-1][0])), line) for line in drawn)
    places = spread([end for end, _, _ in ends], LABEL_PIXELS, TOP, HEIGHT - BOTTOM)
    out, column = [], WIDTH - RIGHT + 24
    for (end, at, line), place in zip(ends, places, strict=True):
        out.append(
            f'<path class="leader" fill="none" d="M{number(at + 5)} {number(end)}L{number(column - 10)} {number(place)}'
            f'L{number(column - 3)} {number(place)}"/>'
        )
        css = line.css.split()[0] + (" ours" if "ours" in line.css else "")
        out.append(_text(column, place + 4, line.label, css))
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


def _text(x: float, y: float, text: str, css: str, anchor: str = "start") -> str:
    kind = f' class="{css}"' if css else ""
    return f'<text{kind} x="{number(x)}" y="{number(y)}" text-anchor="{anchor}">{escape(text)}</text>'
