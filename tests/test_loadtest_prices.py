"""Prices have a source and a date or are refused; refreshing reads what AWS really answers."""

from __future__ import annotations

import json
import os
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from late import Late
from loadtest_servers import http_server

from loadtest.cli.sources import prices
from loadtest.errors import PriceError
from loadtest.prices import table
from loadtest.prices.own import read_own
from loadtest.prices.refresh import refresh, usd_per_hour, write_table
from loadtest.prices.table import find_price, misplaced, price_table, read_table

boto3 = Late("boto3")
HEAD = (
    "provider,region,instance,architecture,microarchitecture,vcpus,cores,memory_gib,usd_per_hour,purchase,"
    "operating_system,source,as_of\n"
)
ROW = "aws,r,x.large,arm64,Neoverse V2,2,2,4,0.08,on-demand,linux,https://example.org/p,2026-01-01\n"


def test_the_table_covers_the_generations_that_matter_with_source_and_date() -> None:
    table = price_table()
    families = {price.instance.split(".")[0] for price in table}
    for size in "cmr":
        assert {f"{size}{g}" for g in ("6g", "7g", "8g", "6i", "7i", "8i", "6a", "7a", "8a")} <= families
    assert {"c9g", "m9g", "c7i-flex", "m7i-flex", "c8i-flex", "m8i-flex", "r8i-flex", "inf2", "trn1"} <= families
    for provider in ("aws", "azure", "gcp"):
        assert {p.architecture for p in table if p.provider == provider} == {"arm64", "amd64"}, provider
    assert {"c4a", "n4a", "c4d", "n4", "n4d", "c3"} <= {p.instance.split("-")[0] for p in table if p.provider == "gcp"}
    assert all(price.as_of and price.source.startswith("https://") for price in table)


def test_vcpus_and_cores_follow_who_sells_threads() -> None:
    for name, vcpus, cores in (
        ("c8g.2xlarge", 8, 8),
        ("c8a.2xlarge", 8, 8),
        ("c8i.2xlarge", 8, 4),
        ("c6a.2xlarge", 8, 4),
        ("c8i-flex.2xlarge", 8, 4),
        ("inf2.xlarge", 4, 2),
        ("Standard_D4ps_v6", 4, 4),
        ("Standard_D8s_v7", 8, 4),
        ("n4d-standard-8", 8, 4),
        ("c4a-standard-8", 8, 8),
        ("n4a-highmem-8", 8, 8),
        ("c4d-standard-8", 8, 4),
    ):
        price = find_price(name)
        assert (price.vcpus, price.cores) == (vcpus, cores)


def test_prices_are_linear_in_size_within_a_family() -> None:
    """A typing error in the table would stand out."""
    for price in price_table():
        if price.provider != "aws" or "metal" in price.instance or price.vcpus < 4:
            continue
        if price.instance.startswith(("inf", "trn")):  # sold by the accelerator
            continue
        small = find_price(price.instance.split(".")[0] + ".xlarge")
        assert price.usd_per_hour / price.vcpus == pytest.approx(small.usd_per_hour / 4, rel=2e-3), price.instance


def test_gcp_sells_cpus_and_memory_each_at_a_rate() -> None:
    """So price = a · vCPUs + b · GiB in each family, exactly: a wrong size or memory would stand out."""
    for family in ("c4a", "n4a", "c4d", "n4", "n4d", "c3"):
        rows = [price for price in price_table() if price.instance.startswith(f"{family}-")]
        sizes = np.array([[price.vcpus, price.memory_gib] for price in rows])
        dollars = np.array([price.usd_per_hour for price in rows])
        rates = np.linalg.lstsq(sizes, dollars, rcond=None)[0]
        assert sizes @ rates == pytest.approx(dollars, rel=1e-9), family


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("https://example.org/p", "", "its source is ''"),
        ("https://example.org/p", "somebody said", "its source is"),
        ("2026-01-01", "", "its date is ''"),
        ("0.08", "0", "costs 0"),
        (",2,2,4,", ",2,4,4,", "4 cores behind 2 vCPUs"),
        (",2,2,4,", ",two,2,4,", "line 2"),
    ],
)
def test_a_row_that_may_not_be_used_is_named_by_its_line(tmp_path: Path, old: str, new: str, says: str) -> None:
    table = tmp_path / "prices.csv"
    table.write_text(HEAD + ROW)
    assert len(read_table(table)) == 1
    table.write_text(HEAD + ROW.replace(old, new, 1))
    with pytest.raises(PriceError, match=says):
        read_table(table)


def test_an_unknown_instance_names_its_neighbours() -> None:
    with pytest.raises(PriceError, match=r"Near it: c8g\."):
        find_price("c8g.huge")
    with pytest.raises(PriceError, match=r"Near it: c4a-highcpu-1"):
        find_price("c4a-huge")
    with pytest.raises(PriceError, match=r"no price of .quantum"):
        find_price("quantum")


OWN = """
[[machine]]
name = "rack 7"
architecture = "amd64"
microarchitecture = "EPYC Turin"
vcpus = 64
cores = 32
memory_gib = 256
purchase = 8760
lifetime_years = 4
mean_watts = 500
price_per_kwh = 0.2
pue = 1.5
other_per_month = 73
as_of = "2026-01-01"
"""


def test_an_own_machine_is_amortisation_plus_electricity_plus_the_rest(tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    file.write_text(OWN)
    price = find_price("rack 7", price_table(file))
    assert price.usd_per_hour == pytest.approx(0.25 + 0.15 + 0.10)
    assert price.source.startswith("own: 500 W at 0.2 USD/kWh")
    file.write_text(OWN + 'currency = "EUR"\nusd_per_unit = 1.1\nrate_source = "ECB, 2026-01-01"\n')
    euros = read_own(file)[0]
    assert euros.usd_per_hour == pytest.approx(0.5 * 1.1)
    assert "1.1 USD a EUR (ECB, 2026-01-01)" in euros.source


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("pue = 1.5", "pue = 0.9"), r"PUE 0\.9"),
        (("cores = 32", "cores = 99"), "99 cores behind 64 vCPUs"),
        (("purchase = 8760", "purchase = -1"), "must not be negative"),
        (("pue = 1.5", 'pue = 1.5\ncurrency = "EUR"\nusd_per_unit = 1.1'), "needs a rate_source"),
        (('as_of = "2026-01-01"', 'as_of = "soon"'), "expected YYYY-MM-DD"),
        (('as_of = "2026-01-01"', 'as_of = "2026-02-29"'), "expected YYYY-MM-DD"),
        (("mean_watts = 500", ""), "machine 1: .*mean_watts"),
        (("[[machine]]", "[machine]"), r"expected one or more \[\[machine\]\]"),
        (("[[machine]]", "[[machine]"), "cannot be read"),
    ],
)
def test_an_own_machine_that_makes_no_sense_is_named(tmp_path: Path, change: tuple[str, str], says: str) -> None:
    file = tmp_path / "own.toml"
    file.write_text(OWN.replace(*change))
    with pytest.raises(PriceError, match=says):
        read_own(file)


def test_the_example_in_the_guide_is_read(tmp_path: Path) -> None:
    guide = (Path(table.__file__).parents[1] / "README.md").read_text("utf-8")
    file = tmp_path / "own.toml"
    file.write_text(guide.split("```toml\n")[1].split("```")[0])
    assert read_own(file)[0].usd_per_hour > 0


def item(instance: str, usd: str, unit: str = "Hrs") -> str:
    """One entry of a price list, in the shape in which AWS sends it: JSON inside a string."""
    dimension = {"sku.t.d": {"unit": unit, "pricePerUnit": {"USD": usd}}}
    terms = {"OnDemand": {"sku.t": {"priceDimensions": dimension}}}
    return json.dumps({"product": {"attributes": {"instanceType": instance}}, "terms": terms})


def test_placeholders_and_other_units_are_not_prices() -> None:
    assert usd_per_hour(item("c8g.large", "0.0797600000")) == ("c8g.large", 0.07976)
    assert usd_per_hour(item("c8g.large", "0.0000000000")) is None
    assert usd_per_hour(item("c8g.large", "5", unit="Quantity")) is None
    assert usd_per_hour(json.dumps({"product": {"attributes": {}}, "terms": {}})) is None


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.mark.usefixtures("credentials")
def test_refresh_pages_through_the_price_list_and_takes_cores_from_ec2(tmp_path: Path) -> None:
    """The price list over real HTTP, in two pages; the instance types as moto describes them."""
    from moto import mock_aws

    asked: list[dict[str, Any]] = []

    def price_list(method: str, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, Any]:
        question = json.loads(body)
        asked.append(question)
        metal = any(f["Value"] == "Dedicated" for f in question["Filters"])
        if metal:
            return 200, {"FormatVersion": "aws_v1", "PriceList": [item("c7g.metal", "2.32")]}
        if "NextToken" in question:
            return 200, {"FormatVersion": "aws_v1", "PriceList": [item("c7i.xlarge", "0.1785"), item("c7g.large", "0")]}
        return 200, {"FormatVersion": "aws_v1", "PriceList": [item("c7g.large", "0.0725")], "NextToken": "2"}

    with mock_aws(config={"core": {"passthrough": {"urls": ["http://127.0.0.1.*"]}}}), http_server(price_list) as url:
        pricing = boto3.client("pricing", region_name="us-east-1", endpoint_url=url)
        ec2 = boto3.client("ec2", region_name="us-east-1")
        wanted = ["c7g.large", "c7i.xlarge", "c7g.metal", "not.sold"]
        rows = refresh(pricing, ec2, "us-east-1", wanted, as_of=date(2026, 11, 23))
        with pytest.raises(PriceError, match="has none of the 1"):
            refresh(pricing, ec2, "us-east-1", ["not.sold"])
    shapes = {r.instance: (r.architecture, r.vcpus, r.cores, r.usd_per_hour) for r in rows}
    assert shapes["c7g.large"] == ("arm64", 2, 2, 0.0725)
    assert shapes["c7i.xlarge"] == ("amd64", 4, 2, 0.1785)
    assert shapes["c7g.metal"][3] == 2.32
    assert {f["Field"] for f in asked[0]["Filters"]} >= {"regionCode", "capacitystatus", "tenancy", "operatingSystem"}
    write_table(rows, tmp_path / "fresh.csv")
    again = read_table(tmp_path / "fresh.csv")
    assert again == rows
    assert {row.as_of for row in again} == {"2026-11-23"}


def test_a_machine_priced_as_one_of_the_other_architecture_is_told() -> None:
    arm, x86 = find_price("c8g.2xlarge"), find_price("c7i.2xlarge")
    assert misplaced(arm, "aarch64") == misplaced(x86, "x86_64") == ""
    assert misplaced(arm, "x86_64") == "priced as c8g.2xlarge, which is arm64, but what ran was x86_64"
    assert misplaced(x86, "aarch64") == "priced as c7i.2xlarge, which is amd64, but what ran was aarch64"


def test_what_has_no_price_is_said_and_so_is_an_aws_that_gives_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = CliRunner().invoke(prices, ["list", "z99"])
    assert isinstance(done.exception, PriceError)
    assert "no machine in the table has 'z99'" in str(done.exception)
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr("boto3.DEFAULT_SESSION", None)  # that of another test has its credentials
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    done = CliRunner().invoke(prices, ["refresh", "--out", str(tmp_path / "fresh.csv"), "c8g.large"])
    assert isinstance(done.exception, PriceError)
    assert "AWS gave no prices: Unable to locate credentials. It needs credentials that may" in str(done.exception)
    assert not (tmp_path / "fresh.csv").exists()
