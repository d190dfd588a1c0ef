"""Sensors under /sys/class/hwmon: NVIDIA Grace, Ampere Altra, and the ACPI power meter of ordinary servers.

A hwmon device is told by its `name`. Grace and the servers show ACPI power meters whose `power1_oem_info` says what
they meter; on Grace "Module Power" contains the others, so only the widest is taken. Altra's `apm_xgene` has CPU and IO
power, `altra_hwmon` an energy counter a core. A channel with `_enable` at 0 shows a frozen value and is left out.
`smpro_hwmon` runs on the board's management controller, not on the host.
"""

from __future__ import annotations

import re
from pathlib import Path

from loadtest.power.sources import PowerChannel, PowerSource, Probed, ReadingKind, Unreadable, millionths

CLASS = "sys/class/hwmon"

# What an ACPI meter says of itself → the domain, widest first; the widest that is there is taken.
_METERED = (
    (re.compile(r"module power", re.I), "module"),
    (re.compile(r"grace power", re.I), "package+dram"),
    (re.compile(r"cpu power", re.I), "package"),
)


def hwmon_sources(root: Path) -> Probed:
    base = root / CLASS
    meters: list[tuple[str, Path]] = []
    found: Probed = []
    for device in sorted(base.glob("hwmon*"), key=lambda p: (len(p.name), p.name)):
        name = _text(device / "name") or _text(device / "device/name") or ""
        if name == "power_meter" or (device / "device/power1_average").exists():
            meters.append((_text(_place(device) / "power1_oem_info") or "", _place(device)))
        elif name == "apm_xgene":
            found += _labelled(device, "Ampere APM", "package", ("CPU power", "IO power"))
        elif name == "altra_hwmon":
            found += _core_energy(device)
    found += _acpi(meters)
    if not found:
        why = "no power sensor among the hwmon devices" if base.is_dir() else f"there is no {base}"
        found.append(
            Unreadable(
                "hwmon",
                why,
                "load the platform's driver (acpi_power_meter, xgene-hwmon), if it has one",
            )
        )
    return found


def _place(device: Path) -> Path:
    """The attributes of an ACPI meter lie in the device behind the class entry."""
    return device / "device" if (device / "device/power1_average").exists() else device


def _acpi(meters: list[tuple[str, Path]]) -> Probed:
    found: Probed = []
    for pattern, domain in _METERED:
        chosen = [(label, place) for label, place in meters if pattern.search(label)]
        if chosen:
            found.append(_meter("Grace", domain, chosen))
            break
    plain = [(label, place) for label, place in meters if not any(p.search(label) for p, _ in _METERED)]
    other = [m for m in plain if "sysio" not in m[0].lower()]
    if other:
        found.append(_meter("ACPI power meter", "wall", other))
    blocked = [s for s in found if isinstance(s, PowerSource) and not _readable(s)]
    for source in blocked:
        found[found.index(source)] = Unreadable(
            source.name,
            f"{source.place} may not be read by this user",
            "run as root, or chmod a+r the file",
        )
    return found


def _meter(name: str, domain: str, meters: list[tuple[str, Path]]) -> PowerSource:
    interval = max((int(_text(place / "power1_average_interval") or 0) for _, place in meters), default=0)
    channels = tuple(
        PowerChannel(label or place.name, ReadingKind.GAUGE, millionths(place / "power1_average"))
        for label, place in meters
    )
    return PowerSource(name, domain, str(meters[0][1]), channels, averages_s=interval / 1e3)


def _labelled(device: Path, name: str, domain: str, wanted: tuple[str, ...]) -> Probed:
    channels = []
    for value in sorted(device.glob("power*_input")):
        stem = value.name.removesuffix("_input")
        label = _text(device / f"{stem}_label") or ""
        if label in wanted and _text(device / f"{stem}_enable") != "0":
            channels.append(PowerChannel(label, ReadingKind.GAUGE, millionths(value)))
    if channels:
        return [PowerSource(name, domain, str(device), tuple(channels))]
    return [
        Unreadable(
            name,
            f"{device} has none of {', '.join(wanted)} enabled",
            "check its power*_enable files",
        )
    ]


def _core_energy(device: Path) -> Probed:
    channels = tuple(
        PowerChannel(
            _text(device / value.name.replace("_input", "_label")) or value.name,
            ReadingKind.COUNTER,
            millionths(value),
        )
        for value in sorted(device.glob("energy*_input"))
        if _text(device / value.name.replace("_input", "_enable")) != "0"
    )
    if not channels:
        return []
    return [
        PowerSource(
            "Altra core energy",
            "core",
            str(device),
            channels,
            note="cores alone: no mesh, no memory controllers",
        )
    ]


def _readable(source: PowerSource) -> bool:
    try:
        source.channels[0].read()
    except PermissionError:
        return False
    except (OSError, ValueError):
        return True  # a busy sensor is found out when it is used
    return True


def _text(path: Path) -> str | None:
    try:
        return path.read_text("utf-8", errors="replace").strip()
    except OSError:
        return None
