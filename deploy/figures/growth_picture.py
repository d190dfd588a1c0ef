"""Queries a second and seconds of a build over the number of rows, as one SVG file that stands alone.

Both scales of both panels are logarithmic, so a power of the rows is a straight line; its exponent stands beside the
engine's name. The same figures give the same bytes.
"""

from __future__ import annotations

from typing import Any

from deploy.figures.ann_picture import HUES, spread
from loadtest.report.svg import OURS, Scale, across, dot, down, path, standing_alone, text

WIDTH, HEIGHT = 1100, 400
LEFT, RIGHT, TOP, BOTTOM, BETWEEN = 62, 8, 84, 52, 66
NAMES = 256  # pixels of the names at the right of a panel
PANELS = {"queries_per_s": "queries a second at recall {target:g}, one thread", "build_s": "seconds of a build"}
LIGHT = (
    ".grid{stroke:#e4e7eb}.axis{stroke:#8a929c}.line{fill:none;stroke-width:1.8;stroke-linejoin:round}"
    ".head{font-weight:600;fill:#111827}"
)
DARK = ".grid{stroke:#242b35}.axis{stroke:#6e7781}.head{fill:#e6edf3}"


def picture(measured: dict[str, Any]) -> str:
    """SVG of kept figures."""
    figures = measured["figures"]
    engines = [(f"c{place % len(HUES)}" if not each["ours"] else f"o{place}", each) for place, each in _drawn(figures)]
    colours = {css: OURS if css[0] == "o" else HUES[int(css[1:])] for css, _ in engines}
    width = (WIDTH - LEFT - RIGHT - BETWEEN) / 2
    out: list[str] = []
    for number, (name, head) in enumerate(PANELS.items()):
        out += _panel(figures, engines, name, head, LEFT + number * (width + BETWEEN), width - NAMES)
    title = f"What ten times as many rows cost: {figures['vectors']}, {figures['dim']} dimensions"
    about = f"{measured['machine']['cpu'].replace('(R)', '')}, {measured['machine']['isa']}, {measured['measured_on']}"
    aloud = f"{title}. Exponents: " + "; ".join(
        f"{each['label']}: " + ", ".join(f"{name} {each['exponents'][name]:g}" for name in PANELS)
        for _, each in engines
        if each["exponents"]
    )
    rules = [
        "".join(f".{css}{{stroke:{hue[dark]}}}text.{css},circle.{css}{{fill:{hue[dark]};stroke:none}}" for css, hue in
                colours.items())
        for dark in (0, 1)
    ]  # fmt: skip
    return standing_alone(WIDTH, HEIGHT, title, about, aloud, out, light=LIGHT + rules[0], dark=DARK + rules[1])


def _drawn(figures: dict[str, Any]) -> list[tuple[int, dict[str, Any]]]:
    return list(enumerate(figures["engines"]))


def _panel(
    figures: dict[str, Any], engines: list[tuple[str, dict[str, Any]]], name: str, head: str, left: float, width: float
) -> list[str]:
    sizes = figures["sizes"]
    values = [point[name] for _, each in engines for point in each["points"]]
    x = Scale(sizes[0], sizes[-1], left, left + width, log=True)
    y = Scale(min(values) / 1.3, max(values) * 1.3, HEIGHT - BOTTOM, TOP, log=True)
    out = [text(left, TOP - 14, head.format(target=figures["target"]), "head")]
    for value in y.ticks(6):
        out.append(across(left, left + width, y(value), "grid"))
        out.append(text(left - 8, y(value) + 4, f"{value:,.10g}", anchor="end"))
    for size in sizes:
        out.append(down(x(size), TOP, HEIGHT - BOTTOM, "grid"))
        out.append(text(x(size), HEIGHT - BOTTOM + 18, f"{size:,}", anchor="middle"))
    out.append(across(left, left + width, HEIGHT - BOTTOM, "axis"))
    for css, each in engines:
        placed = [(x(point["rows"]), y(point[name])) for point in each["points"]]
        out += [path(placed, f"line {css}")] * (len(placed) > 1) + [dot(*place, 3, css) for place in placed]
    ends = sorted((y(each["points"][-1][name]), css, each) for css, each in engines)
    places = spread([end for end, _, _ in ends], 15.5, TOP, HEIGHT - BOTTOM)
    for (_, css, each), place in zip(ends, places, strict=True):
        power = f" ^{each['exponents'][name]:.2f}" if each["exponents"] else ""
        out.append(text(left + width + 8, place + 4, each["label"] + power, css))
    return out
