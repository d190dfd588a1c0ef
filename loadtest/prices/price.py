"""The price of an hour of a machine: from where, as of when, and what keeps one from being used."""

from __future__ import annotations

import re
from datetime import date

import msgspec

STALE_DAYS = 90  # after which a price is warned about
HOURS_A_MONTH = 730.0  # 8760 / 12, as the providers' calculators have it


class Price(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An instance and its price. It covers the machine alone: no storage, no data transfer, no tax."""

    provider: str
    region: str
    instance: str
    architecture: str
    microarchitecture: str
    vcpus: int
    cores: int
    memory_gib: float
    usd_per_hour: float
    purchase: str
    operating_system: str
    source: str
    as_of: str
    machines: int = 0  # that are priced together, as the user said; 0: one, of which nobody said that it is all

    @property
    def usd_per_month(self) -> float:
        return self.usd_per_hour * HOURS_A_MONTH

    def days_before(self, day: str) -> int:
        """How old the price was on that day, or at that time; below 0: it is younger."""
        return (date.fromisoformat(day[:10]) - date.fromisoformat(self.as_of)).days

    def stale_on(self, day: str) -> str:
        """Said of a price that was too old on that day; else empty."""
        days = self.days_before(day)
        return f"the price was {days} days old (perwatt prices refresh)" if days > STALE_DAYS else ""

    def sourced(self, day: str) -> str:
        """Where it is from, how old it was when something was made of it, and what it covers."""
        days = self.days_before(day)
        age = f", {days} day{'' if days == 1 else 's'} before the run" if days >= 0 else ""
        said = f"Price: {self.source}, as of {self.as_of}{age}; machine alone, without storage, transfer or tax."
        return f"{said} Check it: {stale}." if (stale := self.stale_on(day)) else said

    def stated(self) -> str:
        """The words that stand beside every figure made from it."""
        return f"{self.instance}, {self.region}, {self.purchase}, ${self.usd_per_hour:g}/h as of {self.as_of}"


def _is_day(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:  # 2026-02-29
        return False
    return True


def check(price: Price) -> str | None:
    """What keeps a price from being used, or None."""
    if not re.match(r"https?://\S+( and https?://\S+)*$|own: \S", price.source):
        return f"its source is {price.source!r}; expected a URL, or 'own: …' for a price of your own"
    if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", price.as_of) or not _is_day(price.as_of):
        return f"its date is {price.as_of!r}; expected YYYY-MM-DD"
    if not price.usd_per_hour > 0:
        return f"it costs {price.usd_per_hour} an hour"
    if not 0 < price.cores <= price.vcpus:
        return f"it has {price.cores} cores behind {price.vcpus} vCPUs"
    return None
