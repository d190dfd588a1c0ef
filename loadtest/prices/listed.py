"""Prices of other origins than AWS's own API, for the machines of the built-in table: its rows, newly priced and dated.

Azure tells its retail prices to anyone. Google's need an account, so they come from a file. Projects that start
machines (Karpenter's providers) publish lists of all three that they refresh from the providers' APIs, each with its
date; those are read too, and so is what Azure's API answered when it was kept in a file.

What the table does not have is left out, because a list of prices does not say how many cores are behind a vCPU.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import httpx
import msgspec

from loadtest.errors import PriceError
from loadtest.prices.price import Price
from loadtest.prices.table import price_table

REGIONS = {"aws": "us-east-1", "azure": "eastus", "gcp": "us-east1"}  # of the built-in table
AZURE_URL = "https://prices.azure.com/api/retail/prices"
AT_ONCE = 12  # names in one question, which is part of an address
TIMEOUT_S = 60.0

_GO_DATE = re.compile(r"generated at (\d{4}-\d{2}-\d{2})T")
_GO_REGION = re.compile(r'^\s*(?:\w+\[)?"([a-z0-9-]+)"\]?\s*[:=]\s*(?:map\[[^{]*)?\{', re.MULTILINE)
_GO_PRICE = re.compile(r'"([A-Za-z0-9_.-]+)":\s*([0-9.]+)')


class PriceList(msgspec.Struct, frozen=True):
    """Instance type → $/h on demand. as_of: of the list itself, None where it does not say."""

    prices: dict[str, float]
    source: str
    as_of: str | None = None


def azure_list(region: str, instances: Sequence[str], url: str = AZURE_URL) -> PriceList:
    """What Azure asks for `instances` today; PriceError when it cannot be asked."""
    found: dict[str, float] = {}
    try:
        with httpx.Client(timeout=TIMEOUT_S) as client:
            for start in range(0, len(instances), AT_ONCE):
                names = " or ".join(f"armSkuName eq '{name}'" for name in instances[start : start + AT_ONCE])
                wanted = f"serviceName eq 'Virtual Machines' and armRegionName eq '{region}' and ({names})"
                following: str | None = str(httpx.URL(url, params={"$filter": wanted}))
                while following:
                    answer = client.get(following)
                    answer.raise_for_status()
                    page = answer.json()
                    found |= _azure_prices(page)
                    following = page.get("NextPageLink")
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, TypeError) as error:
        raise PriceError(
            f"Azure gave no prices: {error}. {AZURE_URL} must be reached from here, or give a kept answer with --from"
        ) from error
    return PriceList(found, AZURE_URL, date.today().isoformat())


def read_list(path: Path, region: str, source: str) -> PriceList:
    """The prices of `region` in a file; PriceError when it is none of the kinds that are known.

    Args:
        source: where the file is from, a URL.
    """
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PriceError(f"{path} cannot be read: {error}") from error
    if "package pricing" in text:
        return _of_go(text, path, region, source)
    try:
        found = json.loads(text)
        if "Items" in found:
            return PriceList(_azure_prices(found), source)
        return PriceList({name: float(usd) for name, usd in found["prices"][region]["on_demand"].items()}, source)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise PriceError(
            f"{path} has no prices of {region} that can be read ({error!r}); expected the answer of Azure's retail "
            "price API, or a list of Karpenter's providers: zz_generated.pricing*.go (AWS, Azure), initial-prices.json "
            "(GCP)"
        ) from error


def refreshed(provider: str, region: str, given: PriceList, instances: Sequence[str], as_of: str | None) -> list[Price]:
    """The built-in rows of `instances` with the prices of a list; PriceError when none of them is in it."""
    day = as_of or given.as_of
    if day is None:
        raise PriceError("the list does not say of which day it is: give --as-of YYYY-MM-DD")
    rows = [
        msgspec.structs.replace(
            row, region=region, usd_per_hour=given.prices[row.instance], source=given.source, as_of=day
        )
        for row in price_table()
        if row.provider == provider and row.instance in instances and row.instance in given.prices
    ]
    if not rows:
        raise PriceError(f"the list has none of the {len(instances)} machines of {provider} asked for in {region}")
    return rows


def _azure_prices(page: dict[str, Any]) -> dict[str, float]:
    """Linux on demand: neither Windows nor spot nor what is sold with a reservation."""
    return {
        item["armSkuName"]: float(item["retailPrice"])
        for item in page["Items"]
        if item["type"] == "Consumption"
        and item["unitOfMeasure"] == "1 Hour"
        and "Windows" not in item["productName"]
        and not item["skuName"].endswith(("Spot", "Low Priority"))
        and float(item["retailPrice"]) > 0
    }


def _of_go(text: str, path: Path, region: str, source: str) -> PriceList:
    dated = _GO_DATE.search(text)
    starts = list(_GO_REGION.finditer(text))
    for at, start in enumerate(starts):
        if start[1] == region:
            end = starts[at + 1].start() if at + 1 < len(starts) else len(text)
            prices = {name: float(usd) for name, usd in _GO_PRICE.findall(text[start.end() : end])}
            return PriceList(prices, source, dated and dated[1])
    known = ", ".join(start[1] for start in starts[:6])
    raise PriceError(f"{path} has no prices of {region}; it has {known or 'no region at all'}")
