"""The two kinds of charts in a report: lines over common axes, and intervals of ratios above each other.

Every chart is drawn for a given width, because text in a scaled drawing is unreadable on a phone. Colours are classes,
which the page's style sheet decides for light, dark and paper.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import msgspec

from loadtest.report.svg import Scale, across, dot, down, path, svg, text

WIDE, NARROW = 760, 350


class Line(msgspec.Struct, frozen=True):
    """Points (x, y) in data units; `css` is one of s1 to s4. `dots` marks every point, `line` joins them."""

    label: str
    points: Sequence[tuple[float, float]]
    css: str
    dots: bool = True
    line: bool = True


class Mark(msgspec.Struct, frozen=True):
    """A straight line across the plot at a value, with words."""

    at: float
    label: str
    css: str
    vertical: bool = False


def plot(
    width: int,
    lines: Sequence[Line],
    *,
    x_label: str,
    y_label: str,
    x_text: Callable[[float], str],
    y_text: Callable[[float], str],
    marks: Sequence[Mark] = (),
    y_log: bool = False,
    x_ticks: Sequence[tuple[float, str]] | None = None,
    zero_x: bool = True,
    says: str = "",
) -> str:
    """Lines over common axes. Infinite values are drawn at the upper edge."""
    height = round(width * 0.46) if width > 500 else 260
    points = [p for line in lines for p in line.points]
    finite = [y for _, y in points if math.isfinite(y)] + [m.at for m in marks if not m.vertical]
    xs = [x for x, _ in points] + [m.at for m in marks if m.vertical]
    if not finite or not xs:
        return ""
    left, right, top, bottom = 58, 20, 34 if width > 500 else 50, 42
    low = min(finite) / 1.3 if y_log else 0.0
    high = max(finite) * (1.5 if y_log else 1.12)
    x = Scale(0.0 if zero_x else min(xs), max(xs) * (1.04 if zero_x else 1), left, width - right)
    y = Scale(low, high, height - bottom, top, y_log)
    out = []
    for value in y.ticks(5):
        out.append(across(left, width - right, y(value), "grid"))
        out.append(text(left - 7, y(value) + 4, y_text(value), "tick", "end"))
    ticks = x_ticks or [(v, x_text(v)) for v in x.ticks(8 if width > 500 else 4)]
    for value, words in ticks:
        out.append(text(x(value), height - bottom + 17, words, "tick", "middle"))
    out.append(across(left, width - right, height - bottom, "axis"))
    out.append(text((left + width - right) / 2, height - 6, x_label, "label", "middle"))
    out.append(text(6, 13, y_label, "label"))
    for mark in marks:
        out += _mark(mark, x, y, width - right, top, height - bottom, left)
    for line in lines:
        out += _line(line, x, y, top)
    out += _legend([line for line in lines if line.label], width, right)
    return svg(width, height, says, out)


def _line(line: Line, x: Scale, y: Scale, top: float) -> list[str]:
    placed = [(x(px), y(py) if math.isfinite(py) else top) for px, py in line.points]
    out = []
    if line.line and len(placed) > 1:
        out.append(path(placed, f"line {line.css}"))
    if line.dots:
        for (px, py), (_, value) in zip(placed, line.points, strict=True):
            out.append(dot(px, py, 3.2, f"dot {line.css}" if math.isfinite(value) else f"dot open {line.css}"))
    return out


def _mark(mark: Mark, x: Scale, y: Scale, right: float, top: float, bottom: float, left: float) -> list[str]:
    if mark.vertical:
        at = x(mark.at)
        anchor, shift = ("end", -5) if at > (left + right) / 2 else ("start", 5)
        words = text(at + shift, top + 10, mark.label, f"note {mark.css}", anchor)
        return [down(at, top, bottom, f"mark {mark.css}"), words]
    at = y(mark.at)
    words = text(left + 5, at - 5, mark.label, f"note {mark.css}")
    return [across(left, right, at, f"mark {mark.css}"), words]


def _legend(lines: Sequence[Line], width: int, right: int) -> list[str]:
    out = []
    x, y = width - right, 14 if width > 500 else 32  # below the axis' name where there is no room beside it
    for line in reversed(lines):
        taken = round(len(line.label) * 7.3) + 26
        if x - taken < 0:  # one row is not enough: the rest stands above it
            x, y = width - right, y - 18
        x -= taken
        out += [dot(x + 5, y - 4, 4, f"dot {line.css}"), text(x + 14, y, line.label, "key")]
    return out


class BarSpan(msgspec.Struct, frozen=True):
    """One row of a forest or tornado: a point with an interval around it."""

    label: str
    low: float
    mid: float | None
    high: float
    css: str
    note: str = ""


def spans(width: int, rows: Sequence[BarSpan], *, says: str) -> str:
    """Intervals of ratios above each other and the line at 1.00; logarithmic: 0.5 and 2 are equally far from 1."""
    narrow = width < 500
    step, top = (46, 30) if narrow else (30, 30)
    height = top + step * len(rows) + 34
    left, right = (14, 14) if narrow else (250, 120)
    values = [v for r in rows for v in (r.low, r.high, r.mid or 1.0) if math.isfinite(v) and v > 0]
    reach = max([abs(math.log(v)) for v in values] + [0.05]) * 1.12
    x = Scale(math.exp(-reach), math.exp(reach), left, width - right, log=True)
    out = [down(x(1), top - 6, height - 30, "mark one"), text(x(1), top - 12, "equal", "note", "middle")]
    for value in _ratio_ticks(reach, 5 if narrow else 9):
        out.append(text(x(value), height - 10, f"{value:g}×", "tick", "middle"))
    for i, row in enumerate(rows):
        y = top + step * i + (30 if narrow else 15)
        out.append(across(x(max(row.low, x.low)), x(min(row.high, x.high)), y, f"span {row.css}"))
        if row.mid is not None:
            out.append(dot(x(row.mid), y, 4.5, f"dot {row.css}"))
        if narrow:
            out.append(text(left, y - 13, row.label, "row"))
            out.append(text(width - right, y - 13, row.note, "tick", "end"))
        else:
            out.append(text(left - 14, y + 4, row.label, "row", "end"))
            out.append(text(width - right + 12, y + 4, row.note, "tick"))
    return svg(width, height, says, out)


LADDERS = (
    (0.98, 0.99, 1, 1.01, 1.02),
    (0.95, 0.97, 1, 1.03, 1.05),
    (0.9, 0.95, 1, 1.05, 1.1),
    (0.8, 0.9, 1, 1.1, 1.25),
    (0.67, 0.8, 1, 1.25, 1.5),
    (0.5, 0.7, 1, 1.4, 2),
    (0.33, 0.5, 1, 2, 3),
    (0.1, 0.3, 1, 3, 10),
)


def _ratio_ticks(reach: float, about: int) -> list[float]:
    for steps in LADDERS:
        if math.log(steps[-1]) >= reach * 0.55:
            return [s for s in steps if abs(math.log(s)) <= reach][:about]
    return [1.0]
