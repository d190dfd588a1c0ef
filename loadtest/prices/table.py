"""The dated price table, and prices of one's own.

`prices.csv` is read as it lies in the package; a table that `perwatt prices refresh` wrote, or one of your own with the
same columns, is read instead when it is given. Each row says where it is from and as of when, or reading fails with its
line.

`vcpus` is what the provider sells and `cores` what is behind it: a vCPU of a Graviton, a Cobalt or an Axion, of a
C7a/M7a/R7a and of generation 8 AMD on AWS is a core, an Intel vCPU is half of one, and so is one of GCP's C4D. Rates
per vCPU and per core are therefore always given beside each other.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from loadtest.errors import PriceError
from loadtest.prices.price import Price, check

BUILT_IN = Path(__file__).with_name("prices.csv")
MIXED = "mixed"  # of machines that differ


def read_table(path: Path) -> list[Price]:
    """All rows of a CSV; PriceError names the line of the first one that is not fit to be used."""
    rows = []
    with path.open(newline="", encoding="utf-8") as file:
        for number, row in enumerate(csv.DictReader(file), 2):
            where = f"{path.name}, line {number}"
            try:
                price = msgspec.convert(row, Price, strict=False)
            except msgspec.ValidationError as error:
                raise PriceError(f"{where}: {error}") from error
            problem = check(price)
            if problem:
                raise PriceError(f"{where} ({price.instance}): {problem}")
            rows.append(price)
    return rows


@cache
def price_table(path: Path = BUILT_IN) -> tuple[Price, ...]:
    """The rows of a CSV table, or the machines of one's own in a TOML file (`own.py`)."""
    if path.suffix == ".toml":
        from loadtest.prices.own import read_own

        return tuple(read_own(path))
    return tuple(read_table(path))


def misplaced(price: Price, architecture: str) -> str:
    """Said when a machine is priced as one of the other architecture: dollars and modelled watts are then not its own.

    `architecture` as the kernel calls it.
    """
    known = {"x86_64": "amd64", "aarch64": "arm64"}.get(architecture, architecture)
    if known == price.architecture or price.architecture == MIXED:
        return ""
    return f"priced as {price.instance}, which is {price.architecture}, but what ran was {architecture}"


def find_price(instance: str, table: Sequence[Price] | None = None, region: str | None = None) -> Price:
    """The price of an instance type; PriceError with near names when it is not in the table."""
    table = price_table() if table is None else table
    found = [p for p in table if p.instance == instance and region in (None, p.region)]
    if len(found) == 1:
        return found[0]
    if found:
        regions = ", ".join(sorted({f"{p.provider} {p.region}" for p in found}))
        raise PriceError(f"{instance} has several prices ({regions}): say which region")
    family = re.split(r"[.-]", instance)[0]
    near = [p.instance for p in table if p.instance.startswith(family)][:6]
    hint = f"Near it: {', '.join(near)}. " if near else ""
    raise PriceError(
        f"no price of {instance!r}{f' in {region}' if region else ''} is known. {hint}"
        "Refresh the table (perwatt prices refresh) or give a table of your own (--prices FILE)"
    )


def find_prices(instances: str, table: Sequence[Price] | None = None, region: str | None = None) -> Price:
    """The price of an instance type, or of all machines that serve: "c8g.large + 8*r8g.4xlarge", "1*c8g.8xlarge".

    Raises PriceError for one that is not in the table, and for machines that are not paid for alike.
    """
    each: list[tuple[int, Price]] = []
    for part in instances.split("+"):
        count, star, name = part.strip().rpartition("*")
        if star and not (count.strip().isdecimal() and int(count) > 0):
            raise PriceError(f"{part.strip()!r}: expected how many of which instance, such as 8*r8g.4xlarge")
        each.append((int(count) if star else 1, find_price(name.strip(), table, region)))
    if len(each) == 1 and "*" not in instances:
        return each[0][1]
    alike = [{getattr(price, what) for _, price in each} for what in ("provider", "region", "purchase")]
    if any(len(values) > 1 for values in alike):
        raise PriceError(f"{instances!r}: machines of several providers, regions or ways to pay have no price together")

    def common(what: str) -> str:
        values = {getattr(price, what) for _, price in each}
        return str(values.pop()) if len(values) == 1 else MIXED

    def total(what: str) -> Any:
        return sum(count * getattr(price, what) for count, price in each)

    return msgspec.structs.replace(
        each[0][1],
        instance=" + ".join(price.instance if count == 1 else f"{count}*{price.instance}" for count, price in each),
        architecture=common("architecture"),
        microarchitecture=common("microarchitecture"),
        operating_system=common("operating_system"),
        vcpus=total("vcpus"),
        cores=total("cores"),
        memory_gib=total("memory_gib"),
        usd_per_hour=round(total("usd_per_hour"), 6),
        source=" and ".join(dict.fromkeys(price.source for _, price in each)),
        as_of=min(price.as_of for _, price in each),
        machines=sum(count for count, _ in each),
    )
