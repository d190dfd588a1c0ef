"""Joules of the processor packages, where Linux has a counter for them and lets us read it.

The counters of `powercap` (Intel and AMD; sysfs, microjoules) belong to the whole machine: what else runs on it is in
them. They are offered as they are, for whoever divides the machine's energy by its requests; what a query costs is
measured properly by `perwatt loadtest`, which knows classes of evidence. Virtual machines and most containers have
none, and then there is nothing here: no estimate stands in for a measurement.
"""

from __future__ import annotations

from pathlib import Path

POWERCAP = Path("/sys/class/powercap")


def read(folder: Path | None = None) -> list[tuple[str, float]]:
    """(name of the zone, joules since the counter last wrapped) of every package that may be read; by default those of
    `POWERCAP`."""
    folder = folder or POWERCAP
    found: list[tuple[str, float]] = []
    for zone in sorted(folder.glob("intel-rapl:*")):
        try:
            name = (zone / "name").read_text().strip()
            energy_uj = int((zone / "energy_uj").read_text())
        except (OSError, ValueError):
            continue
        if name.startswith("package"):
            found.append((name, energy_uj / 1e6))
    return found
