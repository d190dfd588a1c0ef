"""Charts as SVG text, by hand: axes, lines, bars, and no library in the page.

Colours are classes, so the page's style sheet decides them for light, dark and paper. Every chart is drawn for a given
width, because text in a scaled drawing is unreadable on a phone. The same input gives the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape

import msgspec

WIDE, NARROW = 760, 350


class Line(msgspec.Struct, frozen=True):
    """Points (x, y) in data units; `css` is one of s1 to s4. `dots` marks every point, `line` joins them."""

    label: str
    points: Sequence[tuple[float, float]]
    css: str
    dots: bool = True
    line: bool = True
    dashed: bool = False


class Mark(msgspec.Struct, frozen=True):
    """A straight line across the plot at a value, with words."""

    at: float
    label: str
    css: str
    vertical: bool = False


def number(value: float) -> str:
    return f"{value:.1f}".rstrip("0").rstrip(".")


class Scale:
    """Data to pixels, linear or logarithmic."""

    def __init__(self, low: float, high: float, start: float, end: float, log: bool = False) -> None:
        self.log = log
        if log:
            low, high = max(low, 1e-12), max(high, 1e-12)
        if high <= low:
            high = low * 2 if log else low + 1
        self.low, self.high, self.start, self.end = low, high, start, end

    def __call__(self, value: float) -> float:
        if self.log:
            value = max(value, 1e-12)
            share = (math.log(value) - math.log(self.low)) / (math.log(self.high) - math.log(self.low))
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self, about: int) -> list[float]:
        """Round values inside the scale: 1, 2, 5 times powers of ten."""
        if self.log:
            found = [
                m * 10.0**e
                for e in range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
                for m in (1, 2, 5)
            ]
            inside = [v for v in found if self.low * 0.999 <= v <= self.high * 1.001]
            decades = [v for v in inside if round(math.log10(v), 6).is_integer()]
            return inside if len(inside) <= about + 2 or len(decades) < 2 else decades
        raw = (self.high - self.low) / about
        power = 10 ** math.floor(math.log10(raw))
        step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= raw * 0.999)
        first = math.ceil(self.low / step - 1e-9)
        return [i * step for i in range(first, math.floor(self.high / step + 1e-9) + 1)]


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
    out = [_open(width, height, says)]
    for value in y.ticks(5):
        out.append(
            f'<line class="grid" x1="{left}" x2="{width - right}" y1="{number(y(value))}" y2="{number(y(value))}"/>'
        )
        out.append(_text(left - 7, y(value) + 4, y_text(value), "tick", "end"))
    ticks = x_ticks or [(v, x_text(v)) for v in x.ticks(8 if width > 500 else 4)]
    for value, text in ticks:
        out.append(_text(x(value), height - bottom + 17, text, "tick", "middle"))
    out.append(f'<line class="axis" x1="{left}" x2="{width - right}" y1="{height - bottom}" y2="{height - bottom}"/>')
    out.append(_text((left + width - right) / 2, height - 6, x_label, "label", "middle"))
    out.append(_text(6, 13, y_label, "label", "start"))
    for mark in marks:
        out += _mark(mark, x, y, width - right, top, height - bottom, left)
    for line in lines:
        out += _line(line, x, y, top)
    out.append(_legend([line for line in lines if line.label], width, right))
    out.append("</svg>")
    return "".join(out)


def _open(width: int, height: int, says: str) -> str:
    return (
        f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
        f'aria-label="{escape(says, quote=True)}">'
    )


def _text(x: float, y: float, text: str, css: str, anchor: str) -> str:
    return f'<text class="{css}" x="{number(x)}" y="{number(y)}" text-anchor="{anchor}">{escape(text)}</text>'


def _line(line: Line, x: Scale, y: Scale, top: float) -> list[str]:
    placed = [(x(px), y(py) if math.isfinite(py) else top) for px, py in line.points]
    out = []
    if line.line and len(placed) > 1:
        path = "M" + "L".join(f"{number(px)} {number(py)}" for px, py in placed)
        dash = ' stroke-dasharray="5 4"' if line.dashed else ""
        out.append(f'<path class="line {line.css}" d="{path}"{dash}/>')
    if line.dots:
        for (px, py), (_, value) in zip(placed, line.points, strict=True):
            css = "dot" if math.isfinite(value) else "dot open"
            out.append(f'<circle class="{css} {line.css}" cx="{number(px)}" cy="{number(py)}" r="3.2"/>')
    return out


def _mark(mark: Mark, x: Scale, y: Scale, right: float, top: float, bottom: float, left: float) -> list[str]:
    if mark.vertical:
        at = x(mark.at)
        anchor, shift = ("end", -5) if at > (left + right) / 2 else ("start", 5)
        return [
            f'<line class="mark {mark.css}" x1="{number(at)}" x2="{number(at)}" y1="{number(top)}" '
            f'y2="{number(bottom)}"/>',
            _text(at + shift, top + 10, mark.label, f"note {mark.css}", anchor),
        ]
    at = y(mark.at)
    return [
        f'<line class="mark {mark.css}" x1="{number(left)}" x2="{number(right)}" y1="{number(at)}" y2="{number(at)}"/>',
        _text(left + 5, at - 5, mark.label, f"note {mark.css}", "start"),
    ]


def _legend(lines: Sequence[Line], width: int, right: int) -> str:
    out = []
    x, y = width - right, 14 if width > 500 else 32  # below the axis' name where there is no room beside it
    for line in reversed(lines):
        taken = round(len(line.label) * 7.3) + 26
        if x - taken < 0:  # one row is not enough: the rest stands above it
            x, y = width - right, y - 18
        x -= taken
        out.append(f'<circle class="dot {line.css}" cx="{x + 5}" cy="{y - 4}" r="4"/>')
        out.append(_text(x + 14, y, line.label, "key", "start"))
    return "".join(out)


class BarSpan(msgspec.Struct, frozen=True):
    """One row of a forest or tornado: a point with an interval around it."""

    label: str
    low: float
    mid: float | None
    high: float
    css: str
    note: str = ""


def spans(width: int, rows: Sequence[BarSpan], *, unity: str, says: str) -> str:
    """Intervals of ratios above each other and the line at 1.00; logarithmic: 0.5 and 2 are equally far from 1."""
    narrow = width < 500
    step, top = (46, 30) if narrow else (30, 30)
    height = top + step * len(rows) + 34
    left, right = (14, 14) if narrow else (250, 120)
    values = [v for r in rows for v in (r.low, r.high, r.mid or 1.0) if math.isfinite(v) and v > 0]
    reach = max([abs(math.log(v)) for v in values] + [0.05]) * 1.12
    x = Scale(math.exp(-reach), math.exp(reach), left, width - right, log=True)
    out = [_open(width, height, says)]
    out.append(f'<line class="mark one" x1="{number(x(1))}" x2="{number(x(1))}" y1="{top - 6}" y2="{height - 30}"/>')
    out.append(_text(x(1), top - 12, unity, "note", "middle"))
    for value in _ratio_ticks(reach, 5 if narrow else 9):
        out.append(_text(x(value), height - 10, f"{value:g}×", "tick", "middle"))
    for i, row in enumerate(rows):
        y = top + step * i + (30 if narrow else 15)
        low, high = max(row.low, x.low), min(row.high, x.high)
        out.append(f'<line class="span {row.css}" x1="{number(x(low))}" x2="{number(x(high))}" y1="{y}" y2="{y}"/>')
        if row.mid is not None:
            out.append(f'<circle class="dot {row.css}" cx="{number(x(row.mid))}" cy="{y}" r="4.5"/>')
        if narrow:
            out.append(_text(left, y - 13, row.label, "row", "start"))
            out.append(_text(width - right, y - 13, row.note, "tick", "end"))
        else:
            out.append(_text(left - 14, y + 4, row.label, "row", "end"))
            out.append(_text(width - right + 12, y + 4, row.note, "tick", "start"))
    out.append("</svg>")
    return "".join(out)


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
