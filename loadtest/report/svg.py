"""SVG as text, by hand: scales, lines, dots, words, and the frame of a picture that stands alone.

Colours are classes. Inside a page its style sheet decides them; a picture that stands alone brings a ground, a font and
colours of its own, light or dark like the system. The same input gives the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from html import escape

OURS = ("#d6156c", "#ff6aa8")  # light, dark: what perwatt's own figures are drawn in
_LIGHT = (
    '.ground{fill:#fff}text{font:12px system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;fill:#4b5563}'
    ".title{font-size:15px;font-weight:600;fill:#111827}"
)
_DARK = ".ground{fill:#0d1117}text{fill:#a3adb8}.title{fill:#e6edf3}"


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


def number(value: float) -> str:
    return f"{value:.1f}".rstrip("0").rstrip(".")


def svg(width: float, height: float, says: str, parts: Iterable[str], attributes: str = "") -> str:
    """The element around `parts`; `says` is the drawing in words, for who cannot see it."""
    return (
        f'<svg {attributes}viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
        f'aria-label="{escape(says, quote=True)}">{"".join(parts)}</svg>'
    )


def standing_alone(
    width: float, height: float, title: str, about: str, says: str, parts: Iterable[str], *, light: str, dark: str
) -> str:
    """A file: `title` and `about` above `parts`, whose classes the rules `light` and `dark` colour."""
    style = f"{_LIGHT}{light}@media (prefers-color-scheme:dark){{{_DARK}{dark}}}".replace("\n", "")
    head = [
        f"<style>{style}</style>",
        f'<rect class="ground" width="{width}" height="{height}" rx="8"/>',
        text(18, 26, title, "title"),
        text(18, 46, about),
    ]
    return svg(width, height, says, [*head, *parts], 'xmlns="http://www.w3.org/2000/svg" ') + "\n"


def text(x: float, y: float, words: str, css: str = "", anchor: str = "start") -> str:
    kind = f' class="{css}"' if css else ""
    return f'<text{kind} x="{number(x)}" y="{number(y)}" text-anchor="{anchor}">{escape(words)}</text>'


def across(x1: float, x2: float, y: float, css: str) -> str:
    return f'<line class="{css}" x1="{number(x1)}" x2="{number(x2)}" y1="{number(y)}" y2="{number(y)}"/>'


def down(x: float, y1: float, y2: float, css: str) -> str:
    return f'<line class="{css}" x1="{number(x)}" x2="{number(x)}" y1="{number(y1)}" y2="{number(y2)}"/>'


def dot(x: float, y: float, radius: float, css: str) -> str:
    return f'<circle class="{css}" cx="{number(x)}" cy="{number(y)}" r="{radius}"/>'


def bar(x: float, y: float, width: float, height: float, css: str) -> str:
    place = f'x="{number(x)}" y="{number(y)}" width="{number(width)}" height="{number(height)}"'
    return f'<rect class="{css}" {place} rx="2"/>'


def path(points: Iterable[tuple[float, float]], css: str) -> str:
    return f'<path class="{css}" d="M{"L".join(f"{number(x)} {number(y)}" for x, y in points)}"/>'
