"""The one place that turns quantities into words. Everything inside is SI and seconds; only here are they rounded.

Three significant digits everywhere: a fourth would claim more than a load test can know.
"""

from __future__ import annotations

import math
from collections.abc import Callable


def digits(value: float, significant: int = 3) -> str:
    """`value` with so many significant digits, thousands grouped, never in exponent form."""
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if value == 0:
        return "0"
    places = significant - 1 - math.floor(math.log10(abs(value)))
    rounded = round(value, places)
    places = significant - 1 - math.floor(math.log10(abs(rounded)))  # 9.999 has become 10.0
    text = f"{rounded:,.{max(places, 0)}f}"
    return text.replace("-", "−")


def seconds(value_s: float) -> str:
    """A duration: 840 µs, 1.24 ms, 12.0 s, 3.20 min, 2.00 h."""
    if math.isinf(value_s) or math.isnan(value_s):
        return digits(value_s)
    size = abs(value_s)
    if size == 0:
        return "0 s"
    for limit, scale, unit in (
        (1e-3, 1e6, "µs"),
        (1, 1e3, "ms"),
        (120, 1, "s"),
        (7200, 1 / 60, "min"),
    ):
        if size < limit:
            return f"{digits(value_s * scale)} {unit}"
    return f"{digits(value_s / 3600)} h"


def milliseconds(value_ms: float) -> str:
    """The same for a value that is already in ms."""
    return seconds(value_ms / 1e3)


def rate(value_qps: float) -> str:
    return f"{digits(value_qps)} q/s"


def watts(value_w: float) -> str:
    return f"{digits(value_w)} W"


def joules(value_j: float) -> str:
    size = abs(value_j)
    for limit, scale, unit in ((1e-3, 1e6, "µJ"), (1, 1e3, "mJ"), (1e4, 1, "J"), (1e7, 1e-3, "kJ")):
        if size < limit:
            return f"{digits(value_j * scale)} {unit}"
    return f"{digits(value_j / 3.6e6)} kWh"


def dollars(value_usd: float) -> str:
    """Money: cents below ten dollars keep three digits, above it the thousands are grouped."""
    return f"${digits(value_usd)}"


def grams(value_kg: float) -> str:
    """A mass that is in kg: 12.0 g, 1.20 kg."""
    return f"{digits(value_kg * 1e3)} g" if abs(value_kg) < 1 else f"{digits(value_kg)} kg"


def money(value_usd: float) -> str:
    """A sum on a bill: three digits and the sign before the dollar."""
    return f"−{dollars(-value_usd)}" if value_usd < 0 else dollars(value_usd)


def percent(share: float, significant: int = 3) -> str:
    return f"{digits(share * 100, significant)} %"


def ratio(value: float) -> str:
    """A ratio of two arms, always with two decimals, because 1.00 is a value people look for."""
    if math.isinf(value) or math.isnan(value):
        return digits(value)
    return f"{value:.2f}×"


def spread(low: float, high: float, show: Callable[[float], str] = digits) -> str:
    """From low to high, each as `show` writes it; one value when both read alike."""
    first, last = show(low), show(high)
    return first if first == last else f"{first} to {last}"


def interval(low: float, high: float) -> str:
    return f"{low:.2f} to {high:.2f}"


def count(value: float) -> str:
    return f"{value:,.0f}"


def size_bytes(value: float) -> str:
    for limit, scale, unit in (
        (1 << 10, 1, "B"),
        (1 << 20, 1 << 10, "KiB"),
        (1 << 30, 1 << 20, "MiB"),
    ):
        if value < limit:
            return f"{digits(value / scale)} {unit}"
    return f"{digits(value / (1 << 30))} GiB"
