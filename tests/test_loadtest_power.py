"""Every power reader against a laid-out sysfs or a real endpoint: readings, remedies and refusals."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest
from loadtest_servers import http_server
from power_folders import acpi, lay, only, zone

from loadtest.errors import PowerError
from loadtest.experiment import server
from loadtest.experiment.config import ExperimentConfig
from loadtest.power.hwmon import hwmon_sources
from loadtest.power.management import ipmi_sources, redfish_source, shelly_source
from loadtest.power.meter import read_all
from loadtest.power.powercap import powercap_sources
from loadtest.power.show import show
from loadtest.power.sources import PowerChannel, PowerSource, ReadingKind, Unreadable


# ---- powercap
def test_sockets_are_summed_with_their_dram_and_cores_are_not_added_twice(tmp_path: Path) -> None:
    root = lay(
        tmp_path,
        zone("intel-rapl:0", "package-0", 1_000_000) | zone("intel-rapl:0:0", "core", 600_000)
        | zone("intel-rapl:0:1", "dram", 200_000) | zone("intel-rapl:1", "package-1", 3_000_000)
        | zone("intel-rapl:1:0", "dram", 400_000) | zone("intel-rapl-mmio:0", "package-0", 1_000_000),
    )  # fmt: skip
    source = only(powercap_sources(root))
    assert source.domain == "package+dram"
    assert sum(read_all(source).values) == pytest.approx(4.6)
    assert source.channels[0].wraps_at_j == pytest.approx(262143.32885)


def test_amd_has_packages_alone_and_half_a_dram_is_none(tmp_path: Path) -> None:
    amd = lay(tmp_path / "amd", zone("intel-rapl:0", "package-0", 5) | zone("intel-rapl:0:0", "core", 2))
    assert only(powercap_sources(amd)).domain == "package"
    half = lay(
        tmp_path / "half",
        zone("intel-rapl:0", "package-0", 5) | zone("intel-rapl:0:0", "dram", 2) | zone("intel-rapl:1", "package-1", 5),
    )
    assert only(powercap_sources(half)).domain == "package"


def test_psys_is_a_domain_of_its_own(tmp_path: Path) -> None:
    root = lay(tmp_path, zone("intel-rapl:0", "package-0", 5) | zone("intel-rapl:1", "psys", 9_000_000))
    found = powercap_sources(root)
    assert [(s.name, s.domain) for s in found if isinstance(s, PowerSource)] == [
        ("RAPL", "package"),
        ("RAPL psys", "platform"),
    ]


def test_a_counter_for_root_alone_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = lay(tmp_path, zone("intel-rapl:0", "package-0", 5))
    path = root / "sys/class/powercap/intel-rapl:0/energy_uj"
    path.chmod(0)
    real = Path.read_text

    def read_text(self: Path, *args: Any, **kwargs: Any) -> str:
        if not stat.S_IMODE(self.stat().st_mode):  # root, who may run the tests, could read it all the same
            raise PermissionError(13, "Permission denied", str(self))
        return real(self, *args, **kwargs)

    monkeypatch.setattr(Path, "read_text", read_text)
    found = only(powercap_sources(root))
    assert isinstance(found, Unreadable)
    assert "may not be read by this user" in found.why
    assert "CVE-2020-8694" in found.remedy


def test_a_container_that_masks_the_folder_says_how_to_mount_it(tmp_path: Path) -> None:
    root = lay(tmp_path, {".dockerenv": ""})
    (root / "sys/class/powercap").mkdir(parents=True)
    found = only(powercap_sources(root))
    assert "--sysfs-powercap" in found.remedy
    mounted = lay(tmp_path / "host", zone("intel-rapl:0", "package-0", 7_000_000))
    source = only(powercap_sources(root, mounted / "sys/class/powercap"))
    assert read_all(source).values == [7.0]


def test_a_machine_without_powercap_says_so(tmp_path: Path) -> None:
    assert "there is no" in only(powercap_sources(tmp_path)).why


def test_scmi_shows_watts_and_no_counter(tmp_path: Path) -> None:
    root = lay(tmp_path, {"sys/class/powercap/arm-scmi:0/power_uw": 42_500_000})
    source = only(powercap_sources(root))
    assert (source.name, source.channels[0].kind) == ("SCMI powercap", ReadingKind.GAUGE)
    assert read_all(source).values == [42.5]


def test_grace_takes_its_widest_meter_of_every_socket(tmp_path: Path) -> None:
    root = lay(
        tmp_path,
        acpi(1, "Module Power Socket 0", 300_000_000) | acpi(2, "Grace Power Socket 0", 200_000_000)
        | acpi(3, "CPU Power Socket 0", 150_000_000) | acpi(4, "SysIO Power Socket 0", 20_000_000)
        | acpi(5, "Module Power Socket 1", 310_000_000),
    )  # fmt: skip
    source = only(hwmon_sources(root))
    assert (source.name, source.domain, source.averages_s) == ("Grace", "module", 0.05)
    assert sum(read_all(source).values) == 610


def test_an_acpi_meter_is_at_the_wall(tmp_path: Path) -> None:
    source = only(hwmon_sources(lay(tmp_path, acpi(0, "", 180_000_000, 1000))))
    assert (source.name, source.domain, source.averages_s) == ("ACPI power meter", "wall", 1.0)


def test_altra_has_power_and_core_energy_and_switched_off_channels_are_left_out(tmp_path: Path) -> None:
    files: dict[str, object] = {
        "sys/class/hwmon/hwmon0/name": "apm_xgene",
        "sys/class/hwmon/hwmon1/name": "altra_hwmon",
    }
    for n, label in ((1, "CPU power"), (2, "IO power"), (3, "Fan power")):
        files |= {
            f"sys/class/hwmon/hwmon0/power{n}_input": 10_000_000 * n,
            f"sys/class/hwmon/hwmon0/power{n}_label": label,
        }
    for n in (1, 2, 3):
        files |= {
            f"sys/class/hwmon/hwmon1/energy{n}_input": 1_000_000 * n,
            f"sys/class/hwmon/hwmon1/energy{n}_label": f"Core {n}",
        }
    files["sys/class/hwmon/hwmon1/energy3_enable"] = 0
    power, cores = hwmon_sources(lay(tmp_path, files))
    assert isinstance(power, PowerSource)
    assert isinstance(cores, PowerSource)
    assert read_all(power).values == [10, 20]
    assert (cores.domain, read_all(cores).values) == ("core", [1, 2])


def test_two_sockets_are_one_source(tmp_path: Path) -> None:
    files: dict[str, object] = {}
    for socket in (0, 1):
        power, cores = (f"sys/class/hwmon/hwmon{2 * socket + place}" for place in (0, 1))
        files |= {f"{power}/name": "apm_xgene", f"{cores}/name": "altra_hwmon"}
        files |= {f"{power}/power1_input": 10_000_000 * (socket + 1), f"{power}/power1_label": "CPU power"}
        files |= {f"{cores}/energy1_input": 1_000_000 * (socket + 1), f"{cores}/energy1_label": "Core 1"}
    found = hwmon_sources(lay(tmp_path, files))
    values = {each.domain: read_all(each).values for each in found if isinstance(each, PowerSource)}
    assert values == {"package": [10, 20], "core": [1, 2]}
    for each in found:
        assert isinstance(each, PowerSource)
        assert len({channel.name for channel in each.channels}) == 2  # joules are kept by name


def test_two_meters_without_a_name_are_both_counted(tmp_path: Path) -> None:
    source = only(hwmon_sources(lay(tmp_path, acpi(0, "", 180_000_000, 1000) | acpi(1, "", 70_000_000, 1000))))
    assert read_all(source).values == [180, 70]
    assert len({channel.name for channel in source.channels}) == 2


@pytest.mark.parametrize("local", [True, False])
def test_a_meter_that_was_given_is_the_one_that_is_read(monkeypatch: pytest.MonkeyPatch, local: bool) -> None:
    """And what this machine has of its own says nothing of a service on another one."""
    nothing: tuple[PowerChannel, ...] = ()
    own = [PowerSource("RAPL", "package+dram", "/sys", nothing), PowerSource("IPMI DCMI", "wall", "ipmi", nothing)]
    given = PowerSource("Redfish", "wall", "https://bmc", nothing, given=True)
    monkeypatch.setattr(server, "probe", lambda **where: [*own, *([given] if where["redfish"] else [])])
    config = ExperimentConfig(queries=Path("q"), redfish="https://bmc")
    assert server.power_source(config, local=local) is given
    assert server.power_source(ExperimentConfig(queries=Path("q")), local=local) is (own[0] if local else None)
    named = ExperimentConfig(queries=Path("q"), redfish="https://bmc", power_source="RAPL")
    if local:
        assert server.power_source(named, local=True) is own[0]
    else:
        with pytest.raises(PowerError, match="called 'RAPL'; there are: Redfish"):
            server.power_source(named, local=False)


def test_hwmon_without_power_says_so(tmp_path: Path) -> None:
    root = lay(tmp_path, {"sys/class/hwmon/hwmon0/name": "nvme", "sys/class/hwmon/hwmon0/temp1_input": 40_000})
    assert "no power sensor" in only(hwmon_sources(root)).why


# ---- management controllers and plugs
def tool(folder: Path, name: str, script: str) -> None:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_either_ipmi_tool_is_read_and_its_complaint_is_passed_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool(tmp_path / "a", "ipmitool", 'test "$3" = reading && echo "    Instantaneous power reading:   231 Watts"')
    monkeypatch.setenv("PATH", str(tmp_path / "a"))
    assert read_all(only(ipmi_sources())).values == [231]
    tool(tmp_path / "b", "ipmi-dcmi", "echo 'Current Power                        : 164 Watts'")
    monkeypatch.setenv("PATH", f"{tmp_path / 'b'}:{tmp_path / 'a'}")
    assert read_all(only(ipmi_sources())).values == [164]
    tool(tmp_path / "c", "ipmitool", "echo 'Could not open device at /dev/ipmi0' >&2; exit 1")
    monkeypatch.setenv("PATH", str(tmp_path / "c"))
    assert "Could not open device" in only(ipmi_sources()).why
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    assert "installed" in only(ipmi_sources()).why


def test_redfish_reads_the_new_form_and_the_old_with_its_averaging(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def new(method: str, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, Any]:
        seen.append(headers.get("authorization", ""))
        return (200, {"PowerWatts": {"Reading": 212.5}}) if path.endswith("EnvironmentMetrics") else (404, {})

    def old(method: str, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, Any]:
        control = [{"PowerConsumedWatts": 344, "PowerMetrics": {"IntervalInMin": 20}}]
        return (200, {"PowerControl": control}) if path.endswith("/Power") else (404, {})

    monkeypatch.setenv("PERWATT_REDFISH_USER", "reader")
    monkeypatch.setenv("PERWATT_REDFISH_PASSWORD", "secret")
    with http_server(new) as url:
        assert read_all(redfish_source(f"{url}/redfish/v1/Chassis/1/")).values == [212.5]
    assert seen[0].startswith("Basic ")
    with http_server(old) as url:
        source = redfish_source(f"{url}/redfish/v1/Chassis/1")
        assert (read_all(source).values, source.averages_s) == ([344], 1200)
    with http_server(lambda *_: (401, "no")) as url, pytest.raises(PowerError, match="401"):
        redfish_source(f"{url}/redfish/v1/Chassis/1")
    with pytest.raises(PowerError, match="not a URL of a Redfish chassis"):
        redfish_source("file:///etc/passwd")


@pytest.mark.parametrize("call", ["/rpc/Switch.GetStatus?id=0", "/rpc/PM1.GetStatus?id=0"])
def test_a_plug_of_either_kind_is_read(call: str) -> None:
    def answer(method: str, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, Any]:
        return (200, {"apower": 57.3}) if path == call else (404, {})

    with http_server(answer) as url:
        assert read_all(shelly_source(url)).values == [57.3]


def test_what_is_not_a_plug_is_refused() -> None:
    with http_server(lambda *_: (200, {"hello": 1})) as url, pytest.raises(PowerError, match="no apower"):
        shelly_source(url)
    with http_server(lambda *_: (200, "not json")) as url, pytest.raises(PowerError, match="gave no reading"):
        shelly_source(url)


def test_perwatt_power_shows_readings_remedies_and_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", os.devnull)
    lines = "\n".join(show(lay(tmp_path / "a", acpi(0, "", 150_000_000)), None, None, None, 0.0001))
    assert "* ACPI power meter" in lines
    assert "150 W" in lines
    cpu = "processor: 0\nvendor_id: GenuineIntel\ncpu family: 6\nmodel: 143\nmodel name: X\nflags: avx2\n"
    topology = "sys/devices/system/cpu/cpu0/topology"
    files: dict[str, object] = {"proc/cpuinfo": cpu, f"{topology}/physical_package_id": 0, f"{topology}/core_id": 0}
    lines = "\n".join(show(lay(tmp_path / "b", files), None, None, None, 0))
    assert "not readable" in lines
    assert "Modelled, not measured, for 1 cores of Sapphire Rapids" in lines
    lines = "\n".join(show(lay(tmp_path / "c", {"proc/cpuinfo": "processor: 0\n"}), None, None, None, 0))
    assert "no power model knows its processor (unknown)" in lines
