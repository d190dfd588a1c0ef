"""What else an hour of a machine can be had for: commitments and spot, as the user was quoted them.

The price table holds what is paid on demand. Commitments depend on an account, its payment and its term, and spot on
the hour, so they are not in it: a CSV file with the columns below brings them. A commitment is paid for every hour of
the year; spot, like on demand, for the hours that are used.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from pathlib import Path

import msgspec

from loadtest.errors import PriceError

BY_THE_HOUR = ("on-demand", "pay-as-you-go", "spot")


class PriceOffer(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`purchase` in the user's words: "1 year", "3 years, all upfront", "spot"."""

    instance: str
    purchase: str
    usd_per_hour: float
    source: str
    as_of: str

    @property
    def committed(self) -> bool:
        return self.purchase not in BY_THE_HOUR

    def stated(self) -> str:
        return f"${self.usd_per_hour:g} an hour as of {self.as_of}"


def read_offers(path: Path) -> list[PriceOffer]:
    """All rows of a CSV file; PriceError names the line that is not fit to be used."""
    columns = [field.name for field in msgspec.structs.fields(PriceOffer)]
    found = []
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PriceError(f"{path} cannot be read: {error}") from error
    for number, row in enumerate(csv.DictReader(text.splitlines()), 2):
        where = f"{path.name}, line {number}"
        try:
            offer = msgspec.convert(row, PriceOffer, strict=False)
        except (msgspec.ValidationError, TypeError) as error:
            raise PriceError(f"{where}: {error}; expected the columns {', '.join(columns)}") from error
        if not offer.usd_per_hour > 0 or not offer.source or not re.fullmatch(r"\d{4}-\d{2}-\d{2}", offer.as_of):
            raise PriceError(
                f"{where} ({offer.instance}, {offer.purchase}): expected a price above 0, a source, and a date as "
                f"YYYY-MM-DD; found {offer.usd_per_hour:g}, {offer.source!r} and {offer.as_of!r}"
            )
        found.append(offer)
    if not found:
        raise PriceError(f"{path} holds no offer; expected the columns {', '.join(columns)} and a row each")
    return found


def offers_of(instance: str, offers: Sequence[PriceOffer]) -> dict[str, PriceOffer]:
    """Of one machine, by purchase."""
    return {offer.purchase: offer for offer in offers if offer.instance == instance}
