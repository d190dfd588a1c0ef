"""Modelled watts are intervals with sources, and no architecture wins by its name."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadtest.errors import PowerError
from loadtest.power.models import TABLE, Side, coefficients, modelled_watts, power_ratio, read_coefficients

HEAD = "model,microarchitecture,idle_low,idle_mid,idle_high,max_low,max_mid,max_high,systems,used,note,source,as_of\n"
ROW = "M,A,1,2,3,4,5,6,1,yes,a note,https://example.org/x,2026-01-01\n"


def test_every_row_has_source_date_and_note() -> None:
    assert len(read_coefficients(TABLE)) >= 30


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("https://example.org/x", "", "needs source"),
        ("https://example.org/x", "a blog", "needs source"),
        ("2026-01-01", "", "needs source"),
        ("a note", "", "needs source"),
        ("4,5,6", "5,4,6", "out of order"),
        ("1,2,3", "1,x,3", "line 2"),
    ],
)
def test_a_row_without_them_is_refused(tmp_path: Path, old: str, new: str, says: str) -> None:
    table = tmp_path / "c.csv"
    table.write_text(HEAD + ROW)
    assert len(read_coefficients(table)) == 1
    table.write_text(HEAD + ROW.replace(old, new))
    with pytest.raises(PowerError, match=says):
        read_coefficients(table)


def test_rows_known_to_be_wrong_are_listed_and_not_used() -> None:
    unused = {(row.model, row.microarchitecture) for row in read_coefficients(TABLE) if row.used != "yes"}
    assert ("Cloud Carbon Footprint", "EPYC Turin") in unused
    assert not any(row.model == "CodeCarbon" for row in coefficients())


def test_used_rows_of_other_models_lie_near_what_servers_really_drew() -> None:
    """A lint against the next blank line: full-load watts a core within a factor of 2.5 of SPECpower's 5th to 95th
    percentile.
    """
    spec = {row.microarchitecture: row for row in coefficients() if row.model == "SPECpower"}
    for row in coefficients():
        real = spec[row.microarchitecture]
        assert real.max_low / 2.5 <= row.max_mid <= real.max_high * 2.5, row


@pytest.mark.parametrize("micro", sorted({row.microarchitecture for row in coefficients()}))
@pytest.mark.parametrize("load", [0.0, 0.5, 1.0])
def test_identical_machines_are_exactly_equal(micro: str, load: float) -> None:
    ratio = power_ratio(Side(micro, 16, load), Side(micro, 16, load))
    assert ratio is not None
    assert (ratio.median, ratio.log_sd) == (1.0, 0.0)
    double = power_ratio(Side(micro, 32, load), Side(micro, 16, load))
    assert double is not None
    assert double.median == 2.0


def test_a_ratio_is_formed_inside_each_model_and_its_inverse_is_the_inverse() -> None:
    arm, x86 = Side("Neoverse V1", 8, 1.0), Side("Sapphire Rapids", 4, 1.0)
    there, back = power_ratio(arm, x86), power_ratio(x86, arm)
    assert there is not None
    assert back is not None
    assert set(there.by_model) == {"SPECpower", "Cloud Carbon Footprint", "Boavizta"}
    assert there.by_model["Cloud Carbon Footprint"] == pytest.approx(0.41, abs=0.01)  # as published, per vCPU
    assert there.by_model["Boavizta"] == pytest.approx(0.87, abs=0.01)
    assert there.median * back.median == pytest.approx(1)
    assert there.log_sd == pytest.approx(back.log_sd)
    low, high = there.quantile(-1.645), there.quantile(1.645)
    assert low < min(there.by_model.values())
    assert high > max(there.by_model.values())


def test_models_that_know_one_side_alone_say_nothing() -> None:
    assert power_ratio(Side("unknown", 4, 1), Side("Ice Lake", 4, 1)) is None
    assert modelled_watts("unknown", 4, 1) is None


def test_watts_grow_with_cores_and_load_and_keep_their_interval() -> None:
    idle, half, full = (modelled_watts("EPYC Milan", 8, load) for load in (0.0, 0.5, 1.0))
    assert idle is not None
    assert half is not None
    assert full is not None
    assert idle.mid_w < half.mid_w < full.mid_w
    assert full.low_w < full.mid_w < full.high_w
    twice = modelled_watts("EPYC Milan", 16, 1.0)
    assert twice is not None
    assert twice.mid_w == pytest.approx(2 * full.mid_w)
