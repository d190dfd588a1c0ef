"""Machines of one's own by the hour: amortisation, electricity at the wall times PUE, and the rest.

A TOML file with a table `[[machine]]` for each. Prices may be in any currency; its rate in dollars and where that is
from are part of the file, because reports compare with providers who charge dollars.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

import msgspec

from loadtest.errors import PriceError
from loadtest.prices.price import HOURS_A_MONTH, Price, check

HOURS_A_YEAR = 8760.0


class Own(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One `[[machine]]`. Money is in `currency`; `mean_watts` at the plug, averaged over day and night."""

    name: str
    architecture: str
    microarchitecture: str = "unknown"
    vcpus: int
    cores: int
    memory_gib: float
    purchase: float
    lifetime_years: float
    mean_watts: float
    price_per_kwh: float
    pue: float = 1.0
    other_per_month: float = 0.0
    currency: str = "USD"
    usd_per_unit: float = 1.0
    rate_source: str = ""
    as_of: str

    def price(self) -> Price:
        """PriceError says what makes no sense or lacks a source."""
        if min(self.purchase, self.mean_watts, self.price_per_kwh, self.other_per_month) < 0:
            raise PriceError(f"{self.name}: purchase, watts, kWh price and other costs must not be negative")
        if self.lifetime_years <= 0 or self.pue < 1 or self.usd_per_unit <= 0:
            raise PriceError(
                f"{self.name}: life {self.lifetime_years} years, PUE {self.pue}, {self.usd_per_unit} dollars a unit; "
                "expected a life and a rate above 0 and a PUE of at least 1"
            )
        if self.currency != "USD" and not self.rate_source:
            raise PriceError(f"{self.name}: usd_per_unit for {self.currency} needs a rate_source")
        hourly = self.purchase / (self.lifetime_years * HOURS_A_YEAR)
        hourly += self.mean_watts / 1000 * self.pue * self.price_per_kwh
        hourly += self.other_per_month / HOURS_A_MONTH
        rate = f", {self.usd_per_unit:g} USD a {self.currency} ({self.rate_source})" if self.currency != "USD" else ""
        found = Price(
            provider="own",
            region="on premises",
            instance=self.name,
            architecture=self.architecture,
            microarchitecture=self.microarchitecture,
            vcpus=self.vcpus,
            cores=self.cores,
            memory_gib=self.memory_gib,
            usd_per_hour=hourly * self.usd_per_unit,
            purchase=f"bought for {self.purchase:,.0f} {self.currency}, {self.lifetime_years:g} years",
            operating_system="linux",
            source=f"own: {self.mean_watts:g} W at {self.price_per_kwh:g} {self.currency}/kWh, PUE {self.pue:g}{rate}",
            as_of=self.as_of,
        )
        if problem := check(found):
            raise PriceError(f"{self.name}: {problem}")
        return found


def read_own(path: Path) -> list[Price]:
    """The hourly prices of all machines in the file; PriceError names the machine and what is wrong with it."""
    try:
        found = tomllib.loads(path.read_text("utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise PriceError(f"{path} cannot be read: {error}") from error
    machines = found.get("machine")
    if not isinstance(machines, list) or not machines or set(found) != {"machine"}:
        raise PriceError(f"{path} has the tables {sorted(found)}; expected one or more [[machine]]")
    prices = []
    for number, machine in enumerate(machines, 1):
        try:
            own = msgspec.convert(machine, Own)
        except msgspec.ValidationError as error:
            raise PriceError(f"{path.name}, machine {number}: {error}") from error
        prices.append(own.price())
    return prices
