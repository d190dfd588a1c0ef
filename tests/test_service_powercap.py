"""Joules: the packages of this machine's powercap, and nothing where nothing can be read."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from service.telemetry import powercap as counters
from service.telemetry.metrics import Metrics
from service.telemetry.powercap import package_joules, rapl_zones


def zone(folder: Path, number: str, name: str, energy_uj: str) -> Path:
    path = folder / f"intel-rapl:{number}"
    path.mkdir(parents=True)
    (path / "name").write_text(f"{name}\n")
    (path / "energy_uj").write_text(f"{energy_uj}\n")
    (path / "max_energy_range_uj").write_text("262143328850\n")
    return path


@pytest.fixture
def powercap(tmp_path: Path) -> Path:
    """Two packages with what lies inside them, the whole board, and a control type that is no zone."""
    zone(tmp_path, "0", "package-0", "123456789")
    zone(tmp_path, "0:0", "core", "99000000")
    zone(tmp_path, "0:1", "dram", "88000000")
    zone(tmp_path, "1", "package-1", "7000000")
    zone(tmp_path, "2", "psys", "400000000")
    (tmp_path / "intel-rapl").mkdir()
    return tmp_path


def test_packages_are_counted_once_and_in_joules(powercap: Path) -> None:
    assert package_joules(powercap) == [("package-0", 123.456789), ("package-1", 7.0)]


@pytest.mark.parametrize("broken", ["", "no number", None], ids=["empty", "words", "missing"])
def test_a_zone_that_cannot_be_read_is_left_out(powercap: Path, broken: str | None) -> None:
    counter = powercap / "intel-rapl:0" / "energy_uj"
    counter.unlink()
    if broken is not None:
        counter.write_text(broken)
    assert package_joules(powercap) == [("package-1", 7.0)]


@pytest.mark.parametrize("broken", ["", "no number", None], ids=["empty", "words", "missing"])
def test_a_zone_without_a_range_is_read_and_does_not_say_where_it_wraps(powercap: Path, broken: str | None) -> None:
    limit = powercap / "intel-rapl:1" / "max_energy_range_uj"
    limit.unlink()
    if broken is not None:
        limit.write_text(broken)
    ranges = {zone.folder.name: zone.wraps_at_j for zone in rapl_zones(powercap)}
    assert (ranges["intel-rapl:0"], ranges["intel-rapl:1"]) == (262143.32885, None)
    assert package_joules(powercap) == [("package-0", 123.456789), ("package-1", 7.0)]


def test_no_sensor_is_no_joules(tmp_path: Path) -> None:
    assert package_joules(tmp_path / "powercap") == []


def test_metrics_tell_the_joules_of_the_moment_they_are_asked(powercap: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counters, "POWERCAP", powercap)
    metrics = Metrics()
    assert told(metrics) == {"package-0": 123.456789, "package-1": 7.0}
    (powercap / "intel-rapl:1" / "energy_uj").write_text("9500000")
    assert told(metrics) == {"package-0": 123.456789, "package-1": 9.5}
    monkeypatch.setattr(counters, "POWERCAP", powercap / "nowhere")
    assert told(metrics) == {}


def told(metrics: Metrics) -> dict[str, float]:
    text = metrics.text().decode()
    assert "# TYPE perwatt_machine_joules_total counter" in text
    found = re.findall(r'^perwatt_machine_joules_total\{zone="(.*)"\} (\S+)$', text, re.MULTILINE)
    return {name: float(joules) for name, joules in found}
