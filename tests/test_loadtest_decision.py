"""The page that someone signs: machine names, dollars a year with their interval, and what to do or why not yet."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner
from loadtest_records import invalid, three_arms, write_all

from loadtest.analysis.compare import compare
from loadtest.analysis.decision import Decision, Plans, decide
from loadtest.analysis.engines import subject_names
from loadtest.analysis.fleet import SHAPES, Demand, fleet
from loadtest.analysis.reading import Reading
from loadtest.cli.reports import report as report_command
from loadtest.errors import PriceError
from loadtest.prices.offers import PriceOffer, read_offers
from loadtest.record.run_record import Record, ServiceFacts
from loadtest.report.compare_page import compare_page
from loadtest.report.html import html
from loadtest.report.markdown import markdown

DEMAND = Demand(peak_qps=40_000, shape=SHAPES["office"], grid_kg_per_kwh=0.35)


@pytest.fixture
def records() -> list[Record]:
    """As if they had been measured."""
    found = three_arms()
    for record in found:
        record.label.simulated = False
    return found


def sides(records: list[Record], baseline: str = "x86", candidate: str = "arm") -> list[list[Reading]]:
    return [[Reading(record) for record in sides_of(records, arm)] for arm in (baseline, candidate)]


def sides_of(records: list[Record], arm: str) -> list[Record]:
    return [record for record in records if record.label.arm == arm]


def decided(records: list[Record], plans: Plans, *arms: str, replica: str | None = "x86 again") -> Decision:
    both = sides(records, *arms)
    runs = [Reading(record) for record in records]
    return decide(compare(runs, both[0][0].arm, both[1][0].arm, replica=replica), both, plans)


def page_of(records: list[Record], plans: Plans) -> str:
    runs = [Reading(record) for record in records]
    return markdown(compare_page(compare(runs, "x86", "arm", replica="x86 again"), runs, plans))


# ---- dollars
def test_the_saving_is_that_of_the_two_fleets_and_its_interval_holds_both_ends(records: list[Record]) -> None:
    found = decided(records, Plans(DEMAND, migration_usd=20_000))
    bill = found.bills[0]
    theirs, ours = (fleet(side, DEMAND).usd_per_month for side in sides(records))
    assert theirs is not None
    assert ours is not None
    assert bill.saved_usd.mid == pytest.approx(12 * (theirs.mid - ours.mid))
    assert bill.baseline_usd == pytest.approx([12 * end for end in theirs])
    assert bill.saved_usd.low < bill.saved_usd.mid < bill.saved_usd.high
    months = found.payback_months
    assert months is not None
    assert months.mid == pytest.approx(20_000 / (bill.saved_usd.mid / 12))
    assert months.low < months.mid < months.high
    assert found.action.word == "Move to c8g.2xlarge"


def test_commitments_are_paid_all_year_and_spot_by_the_hour(records: list[Record]) -> None:
    offers = [
        PriceOffer(instance=name, purchase=purchase, usd_per_hour=usd, source="a quote", as_of="2026-11-01")
        for purchase, usd in (("3 years", 0.1), ("spot", 0.1))
        for name in ("c7i.2xlarge", "c8g.2xlarge")
    ]
    following = msgspec.structs.replace(DEMAND, follows_load=True)
    found = {bill.purchase: bill for bill in decided(records, Plans(following, offers)).bills}
    assert list(found) == ["on-demand", "3 years", "spot"]
    assert found["3 years"].baseline_usd.mid > 1.5 * found["spot"].baseline_usd.mid
    assert found["3 years"].per_dollar.mid == pytest.approx(found["spot"].per_dollar.mid)
    text = page_of(records, Plans(following, offers))
    assert re.search(r"\| 3 years \| \$[\d,]+ to \$[\d,]+ \|", text)
    assert "| Price an hour, 3 years | c7i.2xlarge $0.1, c8g.2xlarge $0.1 | a quote, 2026-11-01 |" in text


def test_a_purchase_that_turns_the_verdict_is_named(records: list[Record]) -> None:
    offers = [
        PriceOffer(instance=name, purchase="1 year", usd_per_hour=usd, source="a quote", as_of="2026-11-01")
        for name, usd in (("c7i.2xlarge", 0.15), ("c8g.2xlarge", 0.3))
    ]
    text = page_of(records, Plans(DEMAND, offers))
    assert "Purchase: bought by 1 year, the verdict is worse." in text


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "holds no offer"),
        ("instance,purchase\nc7i.2xlarge,1 year\n", "line 2: .*expected the columns instance, purchase, usd_per_hour"),
        ("instance,purchase,usd_per_hour,source,as_of\na,1 year,0.2,,2026-11-01\n", "line 2 .*a source"),
        ("instance,purchase,usd_per_hour,source,as_of\na,1 year,0.2,me,yesterday\n", "line 2 .*a date"),
        ("instance,purchase,usd_per_hour,source,as_of\na,1 year,0,me,2026-11-01\n", "line 2 .*a price above 0"),
    ],
)
def test_an_offer_without_price_source_or_date_is_refused(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "offers.csv").write_text(text)
    with pytest.raises(PriceError, match=says):
        read_offers(tmp_path / "offers.csv")


# ---- what to do
def test_not_yet_says_why_and_how_many_blocks_are_missing(records: list[Record]) -> None:
    first = [record for record in records if record.label.block == 0]
    alone = decided(first, Plans(DEMAND), replica=None)
    assert alone.action.sentence.startswith(
        "Not yet, because 1 block says nothing about the noise between runs: make 2"
    )
    assert math.isnan(alone.bills[0].saved_usd.low)
    for record, factor in zip(sides_of(records, "x86 again"), (0.9, 1.0, 1.1), strict=True):
        assert record.knee is not None
        record.knee.knee_qps *= factor
    again = decided(records, Plans(DEMAND), "x86", "x86 again", replica=None)
    assert again.action.word == "Not yet"
    assert re.search(
        r"holds both a gain and a loss: about \d+ more blocks would tell \(3 were made\)", again.action.why
    )
    assert again.bills[0].verdict.value == "inconclusive"
    for record in records:
        assert record.knee is not None
        record.knee.reached_limit = record.label.arm == "arm"
    limited = decided(records, Plans(DEMAND))
    assert limited.action.sentence.startswith("Not yet, because arm: the search ended at the highest rate allowed")
    assert limited.bills[0].verdict.value == "inconclusive"
    broken = decided([invalid(records[0]), *records[1:]], Plans(DEMAND))
    assert broken.action.sentence.startswith("Not yet, because the measurement failed its own checks")


def test_the_other_way_round_one_stays(records: list[Record]) -> None:
    found = decided(records, Plans(DEMAND), "arm", "x86", replica=None)
    assert found.action.sentence == "Stay with c8g.2xlarge: c7i.2xlarge answers fewer queries a dollar."
    assert found.bills[0].saved_usd.mid < 0
    assert found.payback_months is None


def test_a_fleet_too_small_for_whole_machines_to_differ_is_not_moved_for_money(records: list[Record]) -> None:
    for record in records:
        assert record.price is not None
        record.price = msgspec.structs.replace(record.price, usd_per_hour=0.3)
    found = decided(records, Plans(msgspec.structs.replace(DEMAND, peak_qps=500.0)))
    assert found.action.word == "Not for money at this size"


def test_without_fleet_or_price_the_page_says_what_to_give(records: list[Record]) -> None:
    text = page_of(records, Plans())
    assert "c8g.2xlarge is better: whether to move is a matter of dollars a year, and the fleet was not given" in text
    assert "Not known, because the fleet was not given: --peak" in text
    for record in records:
        record.price = None
    assert "Not known, because no price: x86: which machine this is" in page_of(records, Plans(DEMAND))


# ---- names and words
def test_machines_are_called_by_their_names_and_simulated_ones_by_their_arms(records: list[Record]) -> None:
    text = page_of(records, Plans(DEMAND))
    assert text.startswith("## c8g.2xlarge against c7i.2xlarge")
    assert re.search(r"c8g.2xlarge gives 1\.\d\d× \(\d\.\d\d to \d\.\d\d, 95 %\) the queries a dollar of c7i", text)
    assert re.search(r"c8g.2xlarge wins per joule if it draws less than 1\d\d % of the power of c7i.2xlarge", text)
    assert page_of(three_arms(), Plans(DEMAND)).startswith("## arm against x86")
    assert "If these machines were real: move to arm" in page_of(three_arms(), Plans(DEMAND))


def test_two_engines_on_one_machine_and_two_releases_are_called_by_theirs(records: list[Record]) -> None:
    one, two = Reading(records[0]), Reading(msgspec.structs.replace(records[0]))
    assert subject_names(one, two) == ("x86", "x86")
    two.record.served = ServiceFacts("http://x", "docs", engine="Chroma", version="1.0")
    assert subject_names(one, two) == ("perwatt", "Chroma")
    one.record.served = ServiceFacts("http://x", "docs", version={"perwatt": "0.1.0"})
    two.record.served = ServiceFacts("http://x", "docs", version={"perwatt": "0.2.0"})
    assert subject_names(one, two) == ("perwatt 0.1.0", "perwatt 0.2.0")
    two.record.price = None
    assert subject_names(one, two) == ("perwatt 0.1.0", "perwatt 0.2.0")


def test_what_would_turn_the_verdict_is_the_break_even_of_speed_and_price(records: list[Record]) -> None:
    runs = [Reading(record) for record in records]
    ratio = compare(runs, "x86", "arm").per_dollar
    assert ratio is not None
    text = page_of(records, Plans(DEMAND))
    found = re.search(r"c8g.2xlarge at \$([\d.]+) an hour or more", text)
    assert found is not None
    assert float(found[1]) == pytest.approx(0.31904 * ratio.estimate, rel=0.005)
    assert re.search(
        r"Speed: c8g.2xlarge answering \d+ % fewer queries at the objective, or c7i.2xlarge \d+ % more", text
    )


def test_the_first_page_comes_before_the_engineers_and_assumes_nothing_without_source(records: list[Record]) -> None:
    runs = [Reading(record) for record in records]
    page = compare_page(compare(runs, "x86", "arm", replica="x86 again"), runs, Plans(DEMAND, migration_usd=1000))
    text = html(page)
    assert text.index("What to do") < text.index("Dollars a year") < text.index("For the engineer")
    assert text.index("For the engineer") < text.index("Ratio by block")
    assert page.signed is not None
    assumed = page.signed.sections[-1].parts[0]
    assert all(row[2] for row in assumed.rows)  # type: ignore[union-attr]
    assert {"Objective", "Workload", "Moving costs", "Power", "Peak and day"} <= {row[0] for row in assumed.rows}  # type: ignore[union-attr]


def test_the_command_takes_offers_and_the_cost_of_moving(records: list[Record], tmp_path: Path) -> None:
    folder = write_all(records, tmp_path / "runs")
    (tmp_path / "offers.csv").write_text(
        "instance,purchase,usd_per_hour,source,as_of\n"
        "c7i.2xlarge,1 year,0.22,quote 4711,2026-11-01\nc8g.2xlarge,1 year,0.2,quote 4711,2026-11-01\n"
    )
    arms = ["--baseline", "x86", "--candidate", "arm", "--replica", "x86 again", "--peak", "40000"]
    more = ["--offers", str(tmp_path / "offers.csv"), "--migration-usd", "9000", "--markdown", "-"]
    done = CliRunner().invoke(report_command, [str(folder), *arms, *more])
    assert done.exit_code == 0, done.output
    assert "quote 4711, 2026-11-01" in done.output
    out = tmp_path / "report.json"
    assert CliRunner().invoke(report_command, [str(folder), *arms, *more[:4], "--json", str(out)]).exit_code == 0
    found = json.loads(out.read_text())["decision"]
    assert found["action"]["word"] == "Move to c8g.2xlarge"
    assert [bill["purchase"] for bill in found["bills"]] == ["on-demand", "1 year"]
    assert "the $9,000 that moving costs are back after" in done.output
