"""An arm of an experiment: what its readings have in common."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from msgspec.structs import replace

from loadtest.analysis.reading import Reading
from loadtest.errors import RecordError
from loadtest.power.models import Side
from loadtest.prices.price import Price


def by_arm(runs: Sequence[Reading]) -> dict[str, list[Reading]]:
    arms: dict[str, list[Reading]] = {}
    for run in runs:
        arms.setdefault(run.arm, []).append(run)
    return arms


def side_of(arm: Sequence[Reading]) -> Side | None:
    """As that of its first reading, at the mean utilisation of its blocks."""
    side = arm[0].side
    mean = round(fmean(reading.utilisation[0] for reading in arm), 3)
    return None if side is None else replace(side, utilisation=mean)


def price_of(arm: Sequence[Reading]) -> Price | None:
    """What an hour of the arm's machine costs; None unless every record has a price. RecordError when they differ."""
    prices = [reading.price for reading in arm if reading.price is not None]
    if len({price.usd_per_hour for price in prices}) > 1:
        raise RecordError(f"the runs of {arm[0].arm} have different prices: price them alike")
    return prices[0] if len(prices) == len(arm) else None
