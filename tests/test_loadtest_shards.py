"""A router and its shards are one service: what they cost is counted of all of them, or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from load_commands import arguments, service
from loadtest_records import invalid, sharded
from loadtest_servers import http_server

from loadtest.analysis.reading import Reading
from loadtest.analysis.sharding import by_shards, several_shardings
from loadtest.cli.load import loadtest
from loadtest.cli.reports import report
from loadtest.errors import PriceError, RecordError
from loadtest.prices.table import find_price, find_prices, misplaced
from loadtest.record.run_record import read_record, write_record
from loadtest.report.markdown import markdown
from loadtest.report.run_page import run_page
from loadtest.report.shards_page import shards_page

pytest_plugins = ["load_commands_fixtures"]


def test_queries_fall_as_one_over_s_and_a_page_says_so() -> None:
    runs = [
        Reading(sharded(replicas, cores, block=block))
        for block in (0, 1)
        for replicas, cores in (([1] * 4, 4.2), (None, 1.0), ([2] * 2, 2.0))
    ]
    assert several_shardings(runs)
    assert not several_shardings(runs[1:2])
    found = by_shards(runs)
    assert [(each.shards, each.replicas, each.servers, each.runs) for each in found] == [
        (1, "1", 1, 2), (2, "2", 5, 2), (4, "1", 5, 2),
    ]  # fmt: skip
    for quantity in ("a CPU second", "a joule"):
        of = [each.measured[quantity] for each in found]
        assert [each.ratio for each in of] == pytest.approx([1.0, 1 / 2.0, 1 / 4.2])
        assert [each.expected for each in of] == [1.0, 0.5, 0.25]
    text = markdown(shards_page(runs))
    assert "In 4 shards there are" in text
    assert "0.24× of those at S = 1, no router; 1/S would be 0.25×" in text
    assert "queries per joule fall as 1/S" in text
    assert "| 2 | 2 | 5 | 2 | 0.50× |" in text


def test_only_one_corpus_in_valid_runs_is_set_beside_itself() -> None:
    one, two = sharded(None, 1.0), sharded([1, 1], 2.0)
    assert two.served is not None
    two.served.count = 999
    with pytest.raises(RecordError, match="served different indexes: count"):
        by_shards([Reading(one), Reading(two)])
    fixed = [Reading(sharded(pieces, 1.0, knee=None)) for pieces in (None, [1, 1])]
    assert all("a second" not in each.measured for each in by_shards(fixed)), "a fixed rate shows no capacity"
    with pytest.raises(RecordError, match="2 shards, block 0 is invalid"):
        by_shards([Reading(one), Reading(invalid(sharded([1, 1], 2.0)))])


def test_the_page_of_a_run_names_shards_and_replicas_and_counts_all_of_them() -> None:
    text = markdown(run_page(Reading(sharded([2] * 4, 3.0))))
    assert "docs · S = 4, R = 2 · " in text
    assert "| Servers that answer | 9: the router and 8 behind it |" in text
    assert "the router's and that of 8 of 8 behind it" in text
    assert "| Joules | measured, of all: package |" in text
    assert "queries per joule fall as 1/S" in text
    assert "Shards and replicas" not in markdown(run_page(Reading(sharded(None, 1.0))))


def test_what_servers_elsewhere_cost_is_not_left_out_but_makes_the_figures_unknown() -> None:
    some = Reading(sharded([1] * 4, 1.0, seen=1))
    assert (some.per_dollar, some.cores, some.vcpus) == (None, None, None)
    assert some.per_joule.evidence == "none"
    assert "3 of the 4 servers behind the router run where nothing was watched" in some.per_joule.how
    text = markdown(run_page(some))
    assert "name all machines, --instance 'c8g.large + 8*r8g.4xlarge'" in text
    assert "| Queries a CPU second, of all | not known |" in text

    both = find_prices("c8g.large + 4*r8g.4xlarge")
    priced = Reading(sharded([1] * 4, 1.0, seen=1, price=both))
    assert priced.per_dollar is not None
    assert priced.capacity is not None
    assert priced.per_dollar == pytest.approx(3600 * priced.capacity.qps / both.usd_per_hour)
    assert priced.per_joule.evidence == "modelled", "a sensor is of one of five machines"
    assert priced.cores == both.cores
    assert "of 5 machines: c8g.large + 4*r8g.4xlarge" in markdown(run_page(priced))

    told = Reading(sharded([1] * 4, 1.0, seen=0, price=find_prices("1*c8g.8xlarge")))
    assert told.per_joule.evidence == "measured", "the user said that one machine is all"
    assert told.per_dollar is not None


def test_machines_are_priced_together() -> None:
    large, big = find_price("c8g.large"), find_price("r8g.4xlarge")
    both = find_prices(" c8g.large+ 8 * r8g.4xlarge")
    assert both.usd_per_hour == pytest.approx(large.usd_per_hour + 8 * big.usd_per_hour)
    assert (both.vcpus, both.machines) == (large.vcpus + 8 * big.vcpus, 9)
    assert both.microarchitecture == large.microarchitecture
    assert find_prices("c8g.large") == large
    mixed = find_prices("c8g.large + c7i.2xlarge")
    assert (mixed.architecture, mixed.microarchitecture) == ("mixed", "mixed")
    assert misplaced(mixed, "x86_64") == ""
    for wrong in ("0*c8g.large", "many*c8g.large", "c8g.large + nothing.large"):
        with pytest.raises(PriceError):
            find_prices(wrong)


def test_records_of_several_numbers_of_shards_make_one_report(tmp_path: Path) -> None:
    for name, record in (("1", sharded(None, 1.0)), ("4", sharded([1] * 4, 4.0))):
        write_record(record, tmp_path / f"{name}.json")
    out = tmp_path / "report.html"
    done = CliRunner().invoke(report, [str(tmp_path), "--html", str(out)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "0.25× at S = 4" in out.read_text("utf-8")


@pytest.mark.usefixtures("warm_locust")
def test_a_load_test_of_a_router_keeps_its_shards_and_says_what_it_cannot_see(questions: Path, tmp_path: Path) -> None:
    def router(method: str, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, Any]:
        status, answer = service(method, path, body, headers)
        return status, {**answer, "replicas": [2, 2, 1]} if path == "/v1/indexes/docs" else answer

    out = tmp_path / "run.json"
    more = ["--rate", "20", "--duration", "1", "--recall-queries", "0", "--instance", "c8g.large + 5*r8g.large"]
    with http_server(router) as url:
        done = CliRunner().invoke(loadtest, ["run", *arguments(url, questions, out, *more)], catch_exceptions=False)
    assert done.exit_code in (0, 3), done.output  # a crowded machine may void it, which is also an answer
    record = read_record(out)
    assert record.served is not None
    assert (record.served.shards, record.served.servers, record.unseen) == (3, 5, 5)
    assert record.price is not None
    assert record.price.machines == 6
    if done.exit_code == 0:
        assert "S = 3, R = 1 to 2: 5 of the 5 servers behind the router run where nothing was watched" in done.output
