"""Fresh prices from AWS's price list, through boto3: one query a family, filtered to on-demand Linux on shared
hardware.

The price list names the vCPUs of an instance but not the cores behind them; those come from EC2's own description
(`ProcessorInfo`, `VCpuInfo`), which also knows the architecture. What is not in both is left out, not filled in. Each
item of the price list is a JSON document inside a string, its price is nested under two generated keys, and offers at
zero dollars are placeholders (reserved capacity), not gifts.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import msgspec

from loadtest.errors import PriceError
from loadtest.prices.price import Price
from loadtest.prices.table import price_table

SOURCE_URL = "https://api.pricing.us-east-1.amazonaws.com/"
FILTER_VALUES = 200  # of one filter, at most: EC2's own limit
PRICE_LIST_REGION = "us-east-1"  # the API itself lives in few regions; what it knows is worldwide


def filters(region: str, metal: bool) -> list[dict[str, str]]:
    wanted = {
        "regionCode": region,
        "operatingSystem": "Linux",
        "preInstalledSw": "NA",
        "capacitystatus": "Used",
        "marketoption": "OnDemand",
        "tenancy": "Dedicated" if metal else "Shared",
        "productFamily": "Compute Instance (bare metal)" if metal else "Compute Instance",
    }
    return [{"Type": "TERM_MATCH", "Field": field, "Value": value} for field, value in wanted.items()]


def usd_per_hour(item: str) -> tuple[str, float] | None:
    """(instance type, $/h) of one price-list item, None for a placeholder or another unit."""
    product = json.loads(item)
    instance = product["product"]["attributes"].get("instanceType")
    for term in product.get("terms", {}).get("OnDemand", {}).values():
        for dimension in term["priceDimensions"].values():
            price = float(dimension["pricePerUnit"].get("USD", 0))
            if instance and price > 0 and dimension.get("unit", "Hrs") == "Hrs":
                return instance, price
    return None


def fetch_prices(pricing: Any, region: str) -> dict[str, float]:
    """Instance type → $/h on demand, of one region; `pricing` is a boto3 pricing client."""
    found: dict[str, float] = {}
    for metal in (False, True):
        pages = pricing.get_paginator("get_products").paginate(
            ServiceCode="AmazonEC2",
            Filters=filters(region, metal),
            PaginationConfig={"PageSize": 100},
        )
        for page in pages:
            for item in page["PriceList"]:
                price = usd_per_hour(item)
                if price is not None:
                    found[price[0]] = price[1]
    return found


def fetch_shapes(ec2: Any, instances: Sequence[str]) -> dict[str, tuple[str, int, int, float]]:
    """Instance type → (architecture, vCPUs, cores, GiB); `ec2` is a boto3 EC2 client of the region."""
    shapes: dict[str, tuple[str, int, int, float]] = {}
    pages = ec2.get_paginator("describe_instance_types")
    for start in range(0, len(instances), FILTER_VALUES):
        # A filter passes over a name that the region does not have; InstanceTypes=[…] would fail as a whole.
        wanted = {"Name": "instance-type", "Values": list(instances[start : start + FILTER_VALUES])}
        for page in pages.paginate(Filters=[wanted]):
            for described in page["InstanceTypes"]:
                cpu = described["VCpuInfo"]
                vcpus = cpu["DefaultVCpus"]
                cores = cpu.get("DefaultCores") or vcpus // cpu.get("DefaultThreadsPerCore", 1)
                architectures = described["ProcessorInfo"]["SupportedArchitectures"]
                kind = "arm64" if "arm64" in architectures else "amd64"
                memory_gib = described["MemoryInfo"]["SizeInMiB"] / 1024
                shapes[described["InstanceType"]] = (kind, vcpus, cores, memory_gib)
    return shapes


def refresh(pricing: Any, ec2: Any, region: str, instances: Iterable[str], as_of: date | None = None) -> list[Price]:
    """Fresh rows for `instances`. Microarchitectures are carried over from the built-in table by family."""
    wanted = list(instances)
    prices = fetch_prices(pricing, region)
    shapes = fetch_shapes(ec2, [name for name in wanted if name in prices])
    micro = {p.instance.split(".")[0]: p.microarchitecture for p in price_table()}
    rows = []
    for name in wanted:
        if name not in prices or name not in shapes:
            continue
        architecture, vcpus, cores, memory_gib = shapes[name]
        rows.append(
            Price(
                provider="aws",
                region=region,
                instance=name,
                architecture=architecture,
                microarchitecture=micro.get(name.split(".")[0], "unknown"),
                vcpus=vcpus,
                cores=cores,
                memory_gib=memory_gib,
                usd_per_hour=prices[name],
                purchase="on-demand",
                operating_system="linux",
                source=SOURCE_URL,
                as_of=(as_of or date.today()).isoformat(),
            )
        )
    if not rows:
        raise PriceError(
            f"the price list of {region} has none of the {len(wanted)} instance types asked for; "
            "check the region and the credentials' permission for pricing:GetProducts and ec2:DescribeInstanceTypes"
        )
    return rows


def write_table(prices: Sequence[Price], path: Path) -> None:
    fields = [field.name for field in msgspec.structs.fields(Price) if field.name != "machines"]  # a row is one
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fields, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        for price in prices:
            row = msgspec.structs.asdict(price)
            row["usd_per_hour"] = f"{price.usd_per_hour:.9f}".rstrip("0").rstrip(".")
            row["memory_gib"] = f"{price.memory_gib:g}"
            writer.writerow(row)
