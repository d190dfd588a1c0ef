"""Sensors under /sys/class/hwmon: NVIDIA Grace, Ampere Altra, and the ACPI power meter of ordinary servers.

A hwmon device is told by its `name`. Grace and the servers show ACPI power meters whose `power1_oem_info` says what
they meter; on Grace "Module Power" contains the others, so only the widest is taken. Altra's `apm_xgene` has CPU and IO
power, `altra_hwmon` an energy counter a core. A channel with `_enable` at 0 shows a frozen value and is left out.
`smpro_hwmon` runs on the board's management controller, not on the host.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
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
    sockets: list[Path] = []
    cores: list[Path] = []
    found: Probed = []
    for device in sorted(base.glob("hwmon*"), key=lambda p: (len(p.name), p.name)):
        name = _text(device / "name") or _text(device / "device/name") or ""
        if name == "power_meter" or (device / "device/power1_average").exists():
            meters.append((_text(_place(device) / "power1_oem_info") or "", _place(device)))
        elif name == "apm_xgene":
            sockets.append(device)
        elif name == "altra_hwmon":
            cores.append(device)
    if sockets:
        found += _labelled(sockets, "Ampere APM", "package", ("CPU power", "IO power"))
    if cores:
        found += _core_energy(cores)
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
        PowerChannel(name, ReadingKind.GAUGE, millionths(place / "power1_average"))
        for name, (label, place) in zip(_apart([label or place.name for label, place in meters]), meters, strict=True)
    )
    return PowerSource(name, domain, str(meters[0][1]), channels, averages_s=interval / 1e3)


def _apart(labels: Sequence[str]) -> list[str]:
    """Each another name: joules are kept by it. What comes again gets a number."""
    seen = [labels[: at + 1].count(label) for at, label in enumerate(labels)]
    return [label if times == 1 else f"{label} {times}" for label, times in zip(labels, seen, strict=True)]


def _labelled(devices: Sequence[Path], name: str, domain: str, wanted: tuple[str, ...]) -> Probed:
    """One source of all devices: where there are several, each is a socket's."""
    found = []
    for device in devices:
        for value in sorted(device.glob("power*_input")):
            stem = value.name.removesuffix("_input")
            label = _text(device / f"{stem}_label") or ""
            if label in wanted and _text(device / f"{stem}_enable") != "0":
                found.append((label, value))
    names = _apart([label for label, _ in found])
    channels = tuple(
        PowerChannel(name, ReadingKind.GAUGE, millionths(value)) for name, (_, value) in zip(names, found, strict=True)
    )
    if channels:
        return [PowerSource(name, domain, str(devices[0]), channels)]
    return [
        Unreadable(
            name,
            f"{devices[0]} has none of {', '.join(wanted)} enabled",
            "check its power*_enable files",
        )
    ]


def _core_energy(devices: Sequence[Path]) -> Probed:
    values = [
        value
        for device in devices
        for value in sorted(device.glob("energy*_input"))
        if _text(device / value.name.replace("_input", "_enable")) != "0"
    ]
    names = _apart([_text(each.with_name(each.name.replace("_input", "_label"))) or each.name for each in values])
    channels = tuple(
        PowerChannel(name, ReadingKind.COUNTER, millionths(value)) for name, value in zip(names, values, strict=True)
    )
    if not channels:
        return []
    return [
        PowerSource(
            "Altra core energy",
            "core",
            str(devices[0]),
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
