"""Two machines at part load, the energy of a query with its class, and carbon: what is reserved, and its making."""

from __future__ import annotations

import math

import msgspec
import pytest
from loadtest_records import ARM, X86, three_arms

from loadtest.analysis.compare import compare
from loadtest.analysis.costs.carbon import embodied_kg_per_hour, sci
from loadtest.analysis.decision import Plans
from loadtest.analysis.fleet import SHAPES, Demand, fleet
from loadtest.analysis.part_load import at_share, part_load
from loadtest.analysis.reading import Reading
from loadtest.power.energy import Energy
from loadtest.record.run_record import Record
from loadtest.record.trial import ServerSide
from loadtest.report.compare_page import compare_page
from loadtest.report.markdown import markdown

DEMAND = Demand(peak_qps=40_000, shape=SHAPES["flat"], grid_kg_per_kwh=0.4)


@pytest.fixture
def records() -> list[Record]:
    return three_arms()


def sides(records: list[Record]) -> list[list[Reading]]:
    return [[Reading(record) for record in records if record.label.arm == arm] for arm in ("x86", "arm")]


def page_of(records: list[Record]) -> str:
    runs = [Reading(record) for record in records]
    return markdown(compare_page(compare(runs, "x86", "arm", replica="x86 again"), runs, Plans(DEMAND)))


def metered(records: list[Record]) -> None:
    """Half of the power when idle on arm, a fifth on x86; and CPUs as busy as the load."""
    for record in records:
        idle, full = (50.0, 100.0) if record.label.arm == "arm" else (20.0, 100.0)
        assert record.knee is not None
        for trial in record.trials:
            share = trial.achieved_qps / record.knee.sustained_qps
            watts = idle + (full - idle) * share
            trial.energy = Energy("RAPL", "package", watts * trial.window_s, trial.window_s, 60, {})
            trial.server = ServerSide(10, trial.response, trial.service, cores_used=max(8 * share, 0.01))


def test_levels_are_shares_of_each_machines_own_knee(records: list[Record]) -> None:
    runs = sides(records)
    levels = part_load(compare([*runs[0], *runs[1]], "x86", "arm"), runs)
    assert [level.share for level in levels] == [0.4, 0.6, 0.8, 1.0]
    first = runs[0][0]
    trial = at_share(first, 0.6)
    assert trial is not None
    assert first.capacity is not None
    assert trial.offered_qps == pytest.approx(0.6 * first.capacity.promised_qps)
    assert levels[1].response_s["p99"].baseline == pytest.approx(trial.response_s(0.99))
    assert list(levels[1].response_s) == ["p50", "p99", "p99.9"]
    assert at_share(runs[0][1], 0.6) is None  # the curve is in the first block alone
    assert levels[1].busy is None
    assert levels[1].per_joule is None


def test_power_at_part_load_is_not_that_of_the_knee(records: list[Record]) -> None:
    metered(records)
    runs = sides(records)
    low, *_, full = part_load(compare([*runs[0], *runs[1]], "x86", "arm"), runs)
    assert low.per_joule is not None
    assert full.per_joule is not None
    assert low.per_joule.ratio is not None
    assert full.per_joule.ratio is not None
    assert low.per_joule.ratio.estimate < 0.9 * full.per_joule.ratio.estimate  # it idles at half of its power
    assert low.busy is not None
    assert low.busy.baseline == pytest.approx(0.4, rel=0.1)
    text = page_of(records)
    assert "| Of the knee | p50 | p99 | p99.9 | CPUs busy | Queries a CPU second | Queries a joule, measured |" in text
    assert "*Measured power over achieved load, an arm a line.*" in text
    assert "| Energy a query | " in text
    assert ", measured (package)" in text


def test_models_are_asked_at_each_load_where_nothing_was_metered(records: list[Record]) -> None:
    runs = sides(records)
    low, *_, full = part_load(compare([*runs[0], *runs[1]], "x86", "arm"), runs)
    assert low.modelled_per_joule is not None
    assert full.modelled_per_joule is not None
    assert low.modelled_per_joule.p50 != full.modelled_per_joule.p50
    text = page_of(records)
    assert "Queries a joule, modelled" in text
    assert ", modelled (whole server) |" in text


# ---- carbon
def test_making_is_shared_by_vcpus_among_the_largest_of_a_family_and_knows_no_architecture() -> None:
    one, other = embodied_kg_per_hour(X86), embodied_kg_per_hour(ARM)
    assert one is not None
    assert other is not None
    assert one == pytest.approx(other)  # eight vCPUs of 192 with 384 GiB on either side
    server = 1000 + 533 / 384 * (384 - 16)
    assert one.low == pytest.approx(server * 8 / 192 / (6 * 8760))
    assert one.high == pytest.approx((server + 100) * 8 / 192 / (4 * 8760))
    assert one.mid == pytest.approx(math.sqrt(one.low * one.high))


def test_a_family_without_its_whole_server_has_no_making_and_ones_own_machine_is_whole() -> None:
    small = msgspec.structs.replace(ARM, provider="azure", instance="Standard_D8zz_v9")
    assert embodied_kg_per_hour(small) is None
    own = msgspec.structs.replace(ARM, provider="own", instance="rack-7", vcpus=128, memory_gib=16)
    found = embodied_kg_per_hour(own)
    assert found is not None
    assert found.low == pytest.approx(1000 / (6 * 8760))


def test_sci_is_energy_by_grid_and_making_of_what_is_reserved(records: list[Record]) -> None:
    runs = sides(records)[1]
    sized = fleet(runs, DEMAND)
    found = sci(sized, ARM, DEMAND)
    millions = 40_000 * 3600 * 730 / 1e6
    making = embodied_kg_per_hour(ARM)
    assert making is not None
    assert sized.kwh_per_month is not None
    assert found.total_kg is not None
    expected = sized.kwh_per_month.mid * 0.4 + sized.machine_hours.mid * making.mid
    assert found.total_kg.mid == pytest.approx(expected / millions)
    assert found.total_kg.low < found.total_kg.mid < found.total_kg.high
    assert "| SCI: CO2e a million queries | " in page_of(records)
    assert sci(sized, None, DEMAND).total_kg is None
    without = msgspec.structs.replace(DEMAND, grid_kg_per_kwh=None)
    assert "--grid" in sci(fleet(runs, without), ARM, without).why
