"""A fleet is sized from all blocks of an arm, and its interval reaches machines, dollars and energy."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
from click.testing import CliRunner
from loadtest_records import invalid, three_arms

from loadtest.analysis.fleet import SHAPES, Demand, fleet, parse_shape
from loadtest.analysis.ratio import geometric_mean
from loadtest.analysis.reading import Reading, readings
from loadtest.cli.reports import fleet as fleet_command
from loadtest.cli.reports import report as report_command
from loadtest.errors import LoadTestError, RecordError
from loadtest.power.energy import Energy
from loadtest.prices.price import HOURS_A_MONTH
from loadtest.prices.table import find_price
from loadtest.record.run_record import Record, write_record


@pytest.fixture
def records() -> list[Record]:
    return three_arms()


@pytest.fixture
def folder(records: list[Record], tmp_path: Path) -> Path:
    for record in records:
        write_record(record, tmp_path / "runs" / f"{record.label.block}-{record.label.arm}.json")
    return tmp_path / "runs"


def blocks_of(records: list[Record], arm: str) -> list[Record]:
    return [record for record in records if record.label.arm == arm]


def test_a_fleet_is_sized_by_what_was_confirmed(records: list[Record]) -> None:
    record = records[0]
    assert record.knee is not None
    demand = Demand(peak_qps=record.knee.sustained_qps * 7, shape=SHAPES["flat"], headroom=0.3, grid_kg_per_kwh=0.4)
    found = fleet([Reading(record)], demand)
    assert found.machines_at_peak.mid == 10
    assert record.price is not None
    assert found.usd_per_month is not None
    assert found.usd_per_month.mid == pytest.approx(10 * HOURS_A_MONTH * record.price.usd_per_hour)
    assert found.evidence == "modelled"
    assert found.kwh_per_month is not None
    assert found.kg_co2e_per_month is not None
    assert found.kwh_per_month.low < found.kwh_per_month.high
    assert found.kg_co2e_per_month.mid == pytest.approx(found.kwh_per_month.mid * 0.4)
    assert found.sized_by.startswith("1 block: the interval is that inside a run")


def test_a_fleet_comes_from_all_blocks_and_its_interval_reaches_the_dollars(records: list[Record]) -> None:
    arm = blocks_of(records, "x86")
    rates = (100.0, 200.0, 400.0)  # one machine's luck a block; the first is the slowest
    for record, rate in zip(arm, rates, strict=True):
        assert record.knee is not None
        record.knee.sustained_qps = rate
    demand = Demand(peak_qps=14_000, shape=SHAPES["flat"], headroom=0.3, grid_kg_per_kwh=0.4)
    found = fleet(readings(arm), demand)
    mean = geometric_mean(rates)
    assert found.each_qps == pytest.approx((mean.low, 200, mean.high))
    assert found.machines_at_peak == tuple(math.ceil(20_000 / qps - 1e-9) for qps in (mean.high, 200, mean.low))
    assert arm[0].price is not None
    dollars = [count * HOURS_A_MONTH * arm[0].price.usd_per_hour for count in found.machines_at_peak]
    assert found.usd_per_month == pytest.approx(dollars)
    assert dollars[0] < dollars[1] < dollars[2]
    # More machines idle more, so the interval of the energy is wider than the models' own.
    alone = fleet([Reading(arm[1])], demand)
    for many, one in ((found.kwh_per_month, alone.kwh_per_month), (found.kg_co2e_per_month, alone.kg_co2e_per_month)):
        assert many is not None
        assert one is not None
        assert many.low < one.low < one.high < many.high
    assert found.sized_by == "mean of 3 blocks and its 95 % interval"


def test_a_fleet_says_which_blocks_were_not_confirmed(records: list[Record]) -> None:
    arm = blocks_of(records, "x86")
    assert arm[1].knee is not None
    arm[1].knee.confirmed, arm[1].knee.sustained_qps, arm[1].knee.knee_low_qps = False, 0.0, 123.0
    found = fleet(readings(arm), Demand(100, SHAPES["flat"]))
    others = [record.knee.sustained_qps for record in (arm[0], arm[2]) if record.knee is not None]
    assert found.each_qps.mid == pytest.approx((123.0 * others[0] * others[1]) ** (1 / 3))
    assert found.sized_by.endswith("; 1 not confirmed, which counts with the lower end of its search")


def test_a_fleet_leaves_no_block_out_and_takes_one_price(records: list[Record]) -> None:
    arm = blocks_of(records, "x86")
    arm[1].price = find_price("c8g.2xlarge")
    with pytest.raises(RecordError, match="the runs of x86 have different prices"):
        fleet(readings(arm), Demand(100, SHAPES["flat"]))
    arm[2].knee = None
    with pytest.raises(LoadTestError, match=r"x86, block 2 has no capacity .* the search did not come to its end"):
        fleet(readings(arm), Demand(100, SHAPES["flat"]))


def test_the_fleet_of_a_comparison_has_an_interval_from_all_blocks(folder: Path) -> None:
    arguments = ["--baseline", "x86", "--replica", "x86 again", "--markdown", "-", "--peak", "90000", "--grid", "0.3"]
    text = CliRunner().invoke(report_command, [str(folder), *arguments]).output
    section = text[text.index("### Fleet") :]
    assert section.count("mean of 3 blocks and its 95 % interval") == 2
    assert len(re.findall(r"Cost a month \| \$[\d,]+ \(\$[\d,]+ to \$[\d,]+\)", section)) == 1
    sized = CliRunner().invoke(fleet_command, [str(folder), "--peak", "90000", "--grid", "0.3"])
    assert sized.output.count("mean of 3 blocks and its 95 % interval") == 3
    for line in ("Machines at the peak", "Cost a month"):
        [cells] = re.findall(rf"{line} \| (.*) \| (.*) \|", section)
        assert sorted(re.findall(rf"  {line}: (.*)", sized.output))[0] in cells


def test_a_fleet_that_follows_the_day_is_smaller_and_never_below_its_floor(records: list[Record]) -> None:
    steady = fleet(readings(records[:1]), Demand(20_000, SHAPES["office"]))
    following = fleet(readings(records[:1]), Demand(20_000, SHAPES["office"], follows_load=True))
    assert following.machine_hours.mid < 0.8 * steady.machine_hours.mid
    assert fleet(readings(records[:1]), Demand(1, SHAPES["flat"])).machines_at_peak == (2, 2, 2)


def test_measured_power_is_used_for_the_fleet_when_the_curve_has_it(records: list[Record]) -> None:
    record = records[0]
    assert record.knee is not None
    knee_qps = record.knee.sustained_qps
    record.knee.knee_low_qps = record.knee.knee_qps = record.knee.knee_high_qps  # nothing but the power is in question
    for trial in record.trials:
        watts = 40 + 60 * trial.offered_qps / knee_qps
        trial.energy = Energy("RAPL", "package", watts * trial.window_s, trial.window_s, 60, {})
    demand = Demand(knee_qps, SHAPES["flat"], headroom=0, pue=1.0, fewest=1)
    found = fleet([Reading(record)], demand)
    assert found.evidence == "measured"
    assert found.kwh_per_month is not None
    assert found.kwh_per_month.low == found.kwh_per_month.high == pytest.approx(0.1 * HOURS_A_MONTH, rel=0.05)
    next(trial.energy for trial in record.trials if trial.energy is not None and trial.role == "curve").domain = "wall"
    assert fleet([Reading(record)], demand).evidence == "modelled", "joules of unlike domains are not one curve"


def test_shapes_and_demands_that_make_no_sense_are_refused(records: list[Record]) -> None:
    assert max(parse_shape(",".join(["5"] * 23 + ["10"]))) == 1
    for text in ("weekend", "1,2,3", ",".join(["0"] * 24)):
        with pytest.raises(LoadTestError, match="expected flat, office, evening, or 24 numbers"):
            parse_shape(text)
    with pytest.raises(LoadTestError, match="headroom 1"):
        fleet(readings(records[:1]), Demand(100, SHAPES["flat"], headroom=1.0))
    with pytest.raises(LoadTestError, match=r"x86, block 0 has no capacity .* the run is invalid"):
        fleet([Reading(invalid(records[0]))], Demand(100, SHAPES["flat"]))


def test_the_fleet_is_in_the_report_when_the_demand_is_given(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "page.md"
    arguments = [str(folder), "--replica", "x86 again", "--baseline", "x86", "--markdown", str(out)]
    assert CliRunner().invoke(report_command, arguments).exit_code == 0
    assert "### Fleet" not in out.read_text()
    more = ["--peak", "9000", "--grid", "0.3", "--pue", "1.1", "--headroom", "0.2"]
    assert CliRunner().invoke(report_command, [*arguments, *more]).exit_code == 0
    text = out.read_text()
    assert "peak of 9,000 q/s with 20.0 % headroom" in text
    assert "kgCO2e, modelled" in text
    assert text.count("| Machines at the peak |") == 1
