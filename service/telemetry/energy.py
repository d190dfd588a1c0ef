"""Joules of the processor packages, where Linux has a readable counter for them.

The counters of `powercap` (Intel and AMD; sysfs, microjoules) are those of the whole machine and include everything
else that runs on it. They are published as they are, so that a machine's energy can be divided by its requests.
`perwatt loadtest` measures properly what a query costs, with classes of evidence. Virtual machines and most containers
have no such counters; then nothing is published, and no estimate stands in for a measurement.
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
