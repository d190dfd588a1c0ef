"""Counters and gauges over a window: wraps, areas, domains, and sensors that vanish."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from power_folders import acpi, lay, only, zone

from loadtest.errors import PowerError
from loadtest.power.meter import Meter, MeterReading, energy, joules
from loadtest.power.powercap import powercap_sources
from loadtest.power.probe import choose, probe
from loadtest.power.sources import PowerChannel, PowerSource, ReadingKind

# ---- joules
COUNTER = PowerChannel("package-0", ReadingKind.COUNTER, lambda: 0.0, wraps_at_j=1000.0)
GAUGE = PowerChannel("plug", ReadingKind.GAUGE, lambda: 0.0)


def test_a_counter_that_wraps_goes_on() -> None:
    assert joules(COUNTER, [0, 1, 2, 3], [900, 980, 60, 140], 0, 3) == pytest.approx(240)


def test_a_counter_is_cut_exactly_at_the_window() -> None:
    assert joules(COUNTER, [0, 1, 2, 3], [0, 100, 200, 300], 0.5, 2.25) == pytest.approx(175)


def test_a_counter_that_goes_back_without_a_range_is_refused() -> None:
    bare = PowerChannel("x", ReadingKind.COUNTER, lambda: 0.0)
    with pytest.raises(PowerError, match="went backwards"):
        joules(bare, [0, 1], [5, 4], 0, 1)


def test_a_gauge_is_the_area_under_its_samples() -> None:
    assert joules(GAUGE, [0, 2, 4], [100, 200, 100], 0, 4) == pytest.approx(600)
    assert joules(GAUGE, [1, 3], [100, 100], 0, 4) == pytest.approx(400)
    with pytest.raises(PowerError, match="too few"):
        joules(GAUGE, [1], [100], 0, 4)


def test_the_domain_and_a_slow_sensor_are_named() -> None:
    source = PowerSource("Redfish", "wall", "x", (GAUGE,), averages_s=1200)
    found = energy(source, [MeterReading(0, [100]), MeterReading(60, [100])], 0, 60)
    assert (found.joules, found.domain) == (6000, "wall")
    assert "averages over 1200 s" in found.note


def test_a_meter_reads_over_the_window_and_a_sensor_that_vanishes_voids_it(tmp_path: Path) -> None:
    import time

    root = lay(tmp_path, zone("intel-rapl:0", "package-0", 1_000_000))
    source = only(powercap_sources(root))
    meter = Meter(source, period_s=0.02)
    now = time.monotonic()
    meter.begin(now, now + 0.1)
    found = meter.result()
    assert found.joules == 0
    assert found.samples >= 2  # of a thread that comes late: at its beginning and at the end
    cut = Meter(source, period_s=0.02)
    cut.begin(now, now + 3600)
    cut.cut(time.monotonic() + 0.05)
    assert cut.result().window_s < 60
    gone = Meter(source, period_s=0.02)
    (root / "sys/class/powercap/intel-rapl:0/energy_uj").unlink()
    gone.begin(now, now + 0.1)
    with pytest.raises(PowerError, match="no energy for this trial: RAPL"):
        gone.result()


def test_the_finest_source_is_chosen_and_a_name_overrules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", os.devnull)
    found = probe(lay(tmp_path, zone("intel-rapl:0", "package-0", 5) | acpi(0, "", 100_000_000)))
    chosen = choose(found)
    assert chosen is not None
    assert chosen.name == "RAPL"
    wall = choose(found, "acpi")
    assert wall is not None
    assert wall.domain == "wall"
    assert choose(probe(tmp_path / "nothing")) is None
