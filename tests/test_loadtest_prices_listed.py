"""Prices from Azure's API, and from the lists that others keep of all three providers; and what is said of old ones."""

from __future__ import annotations

import json
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlparse

import msgspec
import pytest
from click.testing import CliRunner
from loadtest_servers import http_server

from loadtest.cli.sources import prices
from loadtest.errors import PriceError
from loadtest.prices.listed import azure_list, read_list
from loadtest.prices.refresh import write_table
from loadtest.prices.table import find_price, read_table

SOURCE = "https://example.org/list"
AWS = """package pricing
// generated at 2026-07-20T13:44:30Z for us-east-1
var InitialOnDemandPricesAWS = map[string]map[ec2types.InstanceType]float64{
\t// us-east-1
\t"us-east-1": {
\t\t// c8g family
\t\t"c8g.xlarge": 0.200000, "c8g.2xlarge": 0.400000,
\t},
\t"us-west-2": {
\t\t"c8g.xlarge": 9.000000,
\t},
}
"""
AZURE = """package pricing
// generated at 2026-06-18T03:43:41Z
func init() {
\t// eastus
\tinitialOnDemandPrices["eastus"] = map[string]float64{
\t\t"Standard_D4ps_v6":   0.150000,
\t}
\tinitialOnDemandPrices["westus"] = map[string]float64{
\t\t"Standard_D4ps_v6":   9.000000,
\t}
}
"""
GCP = json.dumps(
    {"prices": {"us-east1": {"on_demand": {"n4d-standard-8": 0.377981788}, "spot": {"n4d-standard-8": 0.1}}}}
)


def sold(name: str, usd: float, **changes: Any) -> dict[str, Any]:
    item = {
        "armSkuName": name,
        "retailPrice": usd,
        "unitOfMeasure": "1 Hour",
        "type": "Consumption",
        "productName": "Virtual Machines Dpsv6 Series",
        "skuName": name,
    }
    return {**item, **changes}


ANSWER = [
    sold("Standard_D4ps_v6", 0.15),
    sold("Standard_D4ps_v6", 0.01, skuName="D4ps v6 Spot"),
    sold("Standard_D4ps_v6", 0.3, productName="Virtual Machines Dpsv6 Series Windows"),
    sold("Standard_D4ps_v6", 900.0, type="Reservation"),
    sold("Standard_D4s_v7", 0.0),
]


@pytest.mark.parametrize(
    ("provider", "text", "instance", "usd", "more"),
    [
        ("aws", AWS, "c8g.xlarge", 0.2, []),
        ("azure", AZURE, "Standard_D4ps_v6", 0.15, []),
        ("azure", json.dumps({"Items": ANSWER}), "Standard_D4ps_v6", 0.15, ["--as-of", "2026-11-29"]),
        ("gcp", GCP, "n4d-standard-8", 0.377981788, ["--as-of", "2026-11-29"]),
    ],
)
def test_a_list_gives_the_builtin_rows_its_prices_and_keeps_other_rows(
    tmp_path: Path, provider: str, text: str, instance: str, usd: float, more: list[str]
) -> None:
    given, out = tmp_path / "list", tmp_path / "prices.csv"
    given.write_text(text)
    for once in range(2):  # the second time there are its own rows in the way, and one of another region
        if once:
            elsewhere = msgspec.structs.replace(find_price(instance), region="elsewhere")
            write_table([*read_table(out), elsewhere], out)
        words = ["refresh", "--provider", provider, "--from", str(given), "--source", SOURCE, "--out", str(out), *more]
        done = CliRunner().invoke(prices, words)
        assert done.exit_code == 0, done.output
    rows = {(row.instance, row.region): row for row in read_table(out)}
    fresh = rows[instance, find_price(instance).region]
    assert (fresh.usd_per_hour, fresh.source, fresh.cores) == (usd, SOURCE, find_price(instance).cores)
    assert fresh.as_of in ("2026-07-20", "2026-06-18", "2026-11-29")
    assert (instance, "elsewhere") in rows


def test_azure_is_asked_by_name_and_page_and_its_offers_are_told_apart() -> None:
    asked: list[str] = []

    def retail(method: str, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, Any]:
        asked.append(path)
        if "page=2" in path:
            return 200, {"Items": [sold("Standard_D8ps_v6", 0.3)], "NextPageLink": None}
        return 200, {"Items": ANSWER, "NextPageLink": f"{address}/?page=2"}

    day = date.today().isoformat()
    with http_server(retail) as address:
        found = azure_list("eastus", ["Standard_D4ps_v6", "Standard_D8ps_v6"], address)
    assert found.prices == {"Standard_D4ps_v6": 0.15, "Standard_D8ps_v6": 0.3}
    [wanted] = parse_qs(urlparse(asked[0]).query)["$filter"]
    assert "armRegionName eq 'eastus'" in wanted
    assert "armSkuName eq 'Standard_D4ps_v6' or armSkuName eq 'Standard_D8ps_v6'" in wanted
    assert day <= found.as_of <= date.today().isoformat()


def test_an_azure_that_does_not_answer_is_told(tmp_path: Path) -> None:
    with http_server(lambda *_: (500, "no")) as address, pytest.raises(PriceError, match="Azure gave no prices"):
        azure_list("eastus", ["Standard_D4ps_v6"], address)


@pytest.mark.parametrize(
    ("provider", "text", "words", "says"),
    [
        ("gcp", "{}", ["--as-of", "2026-11-29"], "has no prices of us-east1"),
        ("gcp", "not json", [], "has no prices of us-east1"),
        ("gcp", GCP, [], "give --as-of"),
        ("gcp", GCP, ["--as-of", "2026-11-29", "c4a-standard-8"], "none of the 1 machines"),
        ("aws", AWS, ["--region", "eu-west-1"], "it has us-east-1, us-west-2"),
    ],
)
def test_a_list_that_cannot_be_used_is_told(
    tmp_path: Path, provider: str, text: str, words: list[str], says: str
) -> None:
    (tmp_path / "list").write_text(text)
    given = ["--from", str(tmp_path / "list"), "--source", SOURCE, "--out", str(tmp_path / "out.csv")]
    done = CliRunner().invoke(prices, ["refresh", "--provider", provider, *given, *words])
    assert isinstance(done.exception, PriceError)
    assert says in str(done.exception)
    assert not (tmp_path / "out.csv").exists()


@pytest.mark.parametrize("words", [["--provider", "gcp"], ["--from", "LIST"]])
def test_what_a_list_needs_is_asked_for(tmp_path: Path, words: list[str]) -> None:
    (tmp_path / "list").write_text(GCP)
    words = [str(tmp_path / "list") if word == "LIST" else word for word in words]
    done = CliRunner().invoke(prices, ["refresh", "--out", str(tmp_path / "out.csv"), *words])
    assert done.exit_code == 2
    assert "--from" in done.output


def test_a_region_beside_the_one_asked_for_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "list").write_text(AZURE)
    assert read_list(tmp_path / "list", "westus", SOURCE).prices == {"Standard_D4ps_v6": 9.0}


def test_an_old_price_is_told_and_warned_about() -> None:
    price = find_price("c8g.xlarge")
    as_of = date.fromisoformat(price.as_of)
    young, old = ((as_of + timedelta(days)).isoformat() for days in (90, 91))
    assert price.stale_on(young) == ""
    assert "91 days old" in price.stale_on(old)
    assert f"as of {price.as_of}, 90 days before the run" in price.sourced(f"{young}T10:00:00Z")
    assert "perwatt prices refresh" in price.sourced(old)
    assert "before the run" not in price.sourced((as_of - timedelta(1)).isoformat())
