"""Which of powercap's RAPL zones and SCMI sensors are a source, and why the others are not.

The zones are read by `service.telemetry.powercap`. Cores are part of their package and are not added to it; DRAM is
not, and is. `psys` is a source of its own.

Since Linux 5.10 the counters are for root alone (CVE-2020-8694: their resolution leaks secrets), and container runtimes
mask the folder behind the class even for root (GHSA-jq35-85cj-fj4p). Both are said, with what to do.

Arm's SCMI powercap (Linux 6.2, if the firmware has it) shows average microwatts and no counter.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from loadtest.power.sources import PowerChannel, PowerSource, Probed, ReadingKind, Unreadable, millionths
from service.telemetry.powercap import POWERCAP, RaplZone, rapl_zones

ROOT_ONLY = (
    "run as root, or let the measuring user read it: sudo chmod a+r {path} (until the next boot; the counter's fine "
    "resolution can leak secrets to other users, CVE-2020-8694)"
)
MASKED = (
    "container runtimes hide the folder behind /sys/class/powercap: mount it elsewhere, for example "
    "-v /sys/devices/virtual/powercap:/host/powercap:ro, and pass --sysfs-powercap /host/powercap; or measure outside"
)


def powercap_sources(root: Path, folder: Path | None = None) -> Probed:
    """Sources under `root`/sys/class/powercap, or under `folder` where it was mounted."""
    base = folder or root / POWERCAP.relative_to("/")
    zones = rapl_zones(base, nested=folder is not None)
    scmi = sorted(base.rglob("arm-scmi*/**/power_uw") if folder else base.glob("arm-scmi*/power_uw"))
    if not zones and not scmi:
        if base.is_dir() and (root / ".dockerenv").exists():
            return [Unreadable("RAPL", f"{base} is empty inside a container", MASKED)]
        why = f"{base} has no zones" if base.is_dir() else f"there is no {base}"
        return [
            Unreadable(
                "RAPL",
                why,
                "none on most virtual machines: clouds do not pass it on; use a metal instance",
            )
        ]
    found: Probed = []
    if zones:
        found += _rapl(zones)
    if scmi:
        channels = tuple(PowerChannel(path.parent.name, ReadingKind.GAUGE, millionths(path)) for path in scmi)
        found.append(PowerSource("SCMI powercap", "package", str(base), channels, averages_s=1.0))
    return found


def _rapl(zones: Sequence[RaplZone]) -> Probed:
    packages = [zone for zone in zones if zone.is_package]
    drams = [zone for zone in zones if zone.label == "dram"]
    platform = [zone for zone in zones if zone.label == "psys"]
    blocked = next((zone for zone in packages + drams if _refused(zone)), None)
    if blocked is not None:
        path = blocked.folder / "energy_uj"
        return [Unreadable("RAPL", f"{path} may not be read by this user", ROOT_ONLY.format(path=path))]
    if not packages:
        why = "there are powercap zones, but none is a CPU package"
        return [Unreadable("RAPL", why, "report the zones' names")]
    # Adding DRAM of only some sockets would be a domain of its own, which nothing could be compared with.
    whole = bool(drams) and len(drams) == len(packages)
    found: Probed = [
        PowerSource(
            "RAPL",
            "package+dram" if whole else "package",
            str(packages[0].folder.parent),
            tuple(map(_counter, packages + drams if whole else packages)),
            note=f"{len(packages)} sockets",
        )
    ]
    if platform:
        channels = tuple(map(_counter, platform))
        found.append(PowerSource("RAPL psys", "platform", str(platform[0].folder), channels))
    return found


def _counter(zone: RaplZone) -> PowerChannel:
    name = zone.folder.name
    return PowerChannel(f"{zone.label} ({name})", ReadingKind.COUNTER, zone.joules, zone.wraps_at_j)


def _refused(zone: RaplZone) -> bool:
    try:
        zone.joules()
    except PermissionError:
        return True
    except (OSError, ValueError):
        return False  # is found out when it is used
    return False
