"""RAPL and SCMI through Linux's powercap: /sys/class/powercap.

Intel and AMD both appear as `intel-rapl:N` with one zone a socket and, on some, sub-zones (`dram`, `core`, `uncore`).
Cores are part of their package and are not added to it; DRAM is not, and is. `psys` covers the platform and contains
the packages. `intel-rapl-mmio` counts the same packages a second time through another register and is left out.

Since Linux 5.10 the counters are for root alone (CVE-2020-8694: their resolution leaks secrets), and container runtimes
mask the folder behind the class even for root (GHSA-jq35-85cj-fj4p). Both are said, with what to do.

Arm's SCMI powercap (Linux 6.2, if the firmware has it) shows average microwatts and no counter.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from loadtest.power.sources import PowerChannel, PowerSource, Probed, ReadingKind, Unreadable

CLASS = "sys/class/powercap"
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
    base = folder or root / CLASS
    zones = sorted(base.rglob("intel-rapl:*") if folder else base.glob("intel-rapl:*"), key=lambda p: p.name)
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
        found += _rapl({zone.name: zone for zone in zones})
    if scmi:
        channels = tuple(PowerChannel(f"{path.parent.name}", ReadingKind.GAUGE, _scaled(path, 1e-6)) for path in scmi)
        found.append(PowerSource("SCMI powercap", "package", str(base), channels, averages_s=1.0))
    return found


def _rapl(zones: dict[str, Path]) -> Probed:
    packages, drams, platform = [], [], []
    for name, zone in zones.items():
        label = _text(zone / "name") or ""
        if label.startswith("package"):
            packages.append((name, zone))
        elif label == "dram":
            drams.append((name, zone))
        elif label == "psys":
            platform.append((name, zone))
    blocked = [zone for _, zone in packages + drams if _refused(zone / "energy_uj")]
    if blocked:
        path = blocked[0] / "energy_uj"
        return [Unreadable("RAPL", f"{path} may not be read by this user", ROOT_ONLY.format(path=path))]
    if not packages:
        return [
            Unreadable(
                "RAPL",
                "there are powercap zones, but none is a CPU package",
                "report the zones' names",
            )
        ]
    counted = packages + drams
    # Adding DRAM of only some sockets would be a domain of its own, which nothing could be compared with.
    whole = bool(drams) and len(drams) == len(packages)
    if drams and not whole:
        counted = packages
    found: Probed = [
        PowerSource(
            "RAPL",
            "package+dram" if whole else "package",
            str(packages[0][1].parent),
            tuple(_counter(name, zone) for name, zone in counted),
            note=f"{len(packages)} sockets",
        )
    ]
    if platform:
        found.append(
            PowerSource(
                "RAPL psys",
                "platform",
                str(platform[0][1]),
                tuple(_counter(n, z) for n, z in platform),
            )
        )
    return found


def _counter(name: str, zone: Path) -> PowerChannel:
    limit = _text(zone / "max_energy_range_uj")
    label = _text(zone / "name") or name
    wraps = float(limit) * 1e-6 if limit else None
    return PowerChannel(f"{label} ({name})", ReadingKind.COUNTER, _scaled(zone / "energy_uj", 1e-6), wraps)


def _scaled(path: Path, factor: float) -> Callable[[], float]:
    return lambda: int(path.read_text("ascii")) * factor


def _text(path: Path) -> str | None:
    try:
        return path.read_text("ascii", errors="replace").strip()
    except OSError:
        return None


def _refused(path: Path) -> bool:
    try:
        path.read_text("ascii")
    except PermissionError:
        return True
    except OSError:
        return False
    return False
