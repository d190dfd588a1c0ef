"""The energy counters that Linux keeps of processors (RAPL), read from /sys/class/powercap.

Intel and AMD both appear as `intel-rapl:N` with one zone a socket and, on some, zones inside it (`dram`, `core`,
`uncore`). `psys` covers the platform and contains the packages. `intel-rapl-mmio` counts the same packages a second
time through another register and is left out. Virtual machines and most containers have no such zones.

The service publishes the counters of the packages as they are: they are those of the whole machine and include
everything else that runs on it, so that a machine's energy can be divided by its requests. What a query costs is
measured by `perwatt loadtest`, from the same zones. No estimate stands in here for a measurement.

Nothing else of the service is needed to read it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

POWERCAP = Path("/sys/class/powercap")


@dataclass(frozen=True, slots=True)
class RaplZone:
    """What one counter covers, and where it is read.

    Args:
        folder: named `intel-rapl:` and the zone's number.
        label: `package-0`, `dram`, `psys`, …; empty when it cannot be read.
        wraps_at_j: where the counter begins again at zero; None when the kernel does not say.
    """

    folder: Path
    label: str
    wraps_at_j: float | None

    @property
    def is_package(self) -> bool:
        return self.label.startswith("package")

    def joules(self) -> float:
        """Since the counter last wrapped. OSError or ValueError when it cannot be read; PermissionError to all but
        root since Linux 5.10."""
        return int((self.folder / "energy_uj").read_text("ascii")) / 1e6


def rapl_zones(folder: Path | None = None, *, nested: bool = False) -> list[RaplZone]:
    """The zones in `folder`, by default `POWERCAP`, in the order of their names; none where there is no such folder.

    Args:
        nested: `folder` is not the class, whose entries lie side by side, but the devices, where zones lie in zones.
    """
    folder = folder or POWERCAP
    places = {place.name: place for place in (folder.rglob if nested else folder.glob)("intel-rapl:*")}
    return [_zone(places[name]) for name in sorted(places)]


def package_joules(folder: Path | None = None) -> list[tuple[str, float]]:
    """(label, joules since the counter last wrapped) of every package that may be read."""
    found: list[tuple[str, float]] = []
    for zone in rapl_zones(folder):
        if zone.is_package:
            try:
                found.append((zone.label, zone.joules()))
            except (OSError, ValueError):
                continue
    return found


def _zone(folder: Path) -> RaplZone:
    try:
        label = (folder / "name").read_text("ascii", errors="replace").strip()
    except OSError:
        label = ""
    try:
        wraps_at_j = int((folder / "max_energy_range_uj").read_text("ascii")) / 1e6
    except (OSError, ValueError):
        wraps_at_j = None
    return RaplZone(folder, label, wraps_at_j)
