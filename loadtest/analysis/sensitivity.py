"""What would change the verdict: break-even points, and a tornado of the things we do not know.

Each bar of the tornado moves one input over its range and leaves the others at their middle; a bar that crosses 1 could
by itself turn the verdict around. The inputs are what a reader may disbelieve: the measurement's own noise, the prices,
and for joules the power models.
"""

from __future__ import annotations

import msgspec

from loadtest.analysis.compare import Comparison
from loadtest.prices.price import Price

PRICE_SWING = 0.20  # of either price: about what a one-year commitment takes off, or another region puts on


class Bar(msgspec.Struct, frozen=True):
    """The headline ratio when `what` goes from one end of its range to the other."""

    what: str
    low: float
    high: float
    range_text: str

    @property
    def decides(self) -> bool:
        return self.low < 1 < self.high


class BreakEven(msgspec.Struct, frozen=True):
    """The candidate wins exactly while the named thing is below the value."""

    what: str
    value: float
    low: float
    high: float
    unit: str


def tornado(comparison: Comparison) -> list[Bar]:
    """Bars of the deciding ratio, the widest first; of the modelled joules too, when there are no measured ones."""
    ratio = comparison.per_dollar or comparison.per_second
    if ratio is None:
        return []
    bars = [Bar("noise of the measurement", ratio.low, ratio.high, "its 95 % interval")]
    if comparison.per_dollar is not None:
        swing = 1 + PRICE_SWING
        text = f"±{PRICE_SWING:.0%}"
        bars.append(
            Bar(
                f"price of {comparison.candidate}",
                ratio.estimate / swing,
                ratio.estimate * swing,
                text,
            )
        )
        bars.append(
            Bar(
                f"price of {comparison.baseline}",
                ratio.estimate / swing,
                ratio.estimate * swing,
                text,
            )
        )
    return sorted(bars, key=lambda bar: (bar.low / bar.high, bar.what))


def joule_tornado(comparison: Comparison) -> list[Bar]:
    """What the queries a joule would be if each model alone were right."""
    belief, rate = comparison.modelled, comparison.per_second
    if belief is None or rate is None:
        return []
    bars = [
        Bar(
            f"{model} alone",
            rate.estimate / value,
            rate.estimate / value,
            f"power ratio {value:.2f}",
        )
        for model, value in belief.power.by_model.items()
    ]
    bars.append(Bar("all models with their spread", belief.p5, belief.p95, "5 to 95 %"))
    bars.append(
        Bar(
            "noise of the measurement",
            rate.low / belief.power.median,
            rate.high / belief.power.median,
            "95 %",
        )
    )
    return bars


def break_evens(comparison: Comparison, candidate: Price | None, baseline: Price | None) -> list[BreakEven]:
    """Of the watts, and of the candidate's price when both have one."""
    found = []
    rate = comparison.per_second
    if rate is not None:
        found.append(BreakEven("power ratio ρ*", rate.estimate, rate.low, rate.high, "of the baseline's watts"))
        if candidate is not None and baseline is not None:
            base = baseline.usd_per_hour
            found.append(
                BreakEven(
                    f"price of {comparison.candidate}",
                    base * rate.estimate,
                    base * rate.low,
                    base * rate.high,
                    "$/h",
                )
            )
    return found
