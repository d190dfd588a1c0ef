"""Everything this machine offers, and why the rest cannot be read: what `perwatt power` shows."""

from __future__ import annotations

from pathlib import Path

from loadtest.errors import PowerError
from loadtest.power.hwmon import hwmon_sources
from loadtest.power.management import ipmi_sources, redfish_source, shelly_source
from loadtest.power.powercap import powercap_sources
from loadtest.power.powermetrics import powermetrics_sources
from loadtest.power.sources import PowerSource, Probed

# Widest first: the wall includes what the CPU's own counters leave out.
PREFERENCE = ("module", "package+dram", "package", "apple-soc", "wall", "platform", "core")


def probe(
    root: Path = Path("/"),
    *,
    powercap: Path | None = None,
    redfish: str | None = None,
    shelly: str | None = None,
) -> Probed:
    """All sources that can be read and all that cannot, with reasons. A given URL that fails raises PowerError."""
    found = powercap_sources(root, powercap) + hwmon_sources(root) + ipmi_sources() + powermetrics_sources()
    if redfish:
        found.append(redfish_source(redfish))
    if shelly:
        found.append(shelly_source(shelly))
    return found


def choose(found: Probed, name: str | None = None) -> PowerSource | None:
    """The source to use: the named one, else one that was given, else the finest (CPU counters before the wall, which
    averages).

    PowerError when none has that name.
    """
    sources = [source for source in found if isinstance(source, PowerSource)]
    if name is not None:
        named = next((s for s in sources if name.lower() in s.name.lower()), None)
        if named is None:
            have = ", ".join(s.name for s in sources) or "none"
            raise PowerError(
                f"no power source that can be read here is called {name!r}; there are: {have} (see perwatt power)"
            )
        return named
    ordered = sorted(
        sources,
        key=lambda s: (not s.given, PREFERENCE.index(s.domain) if s.domain in PREFERENCE else len(PREFERENCE)),
    )
    return ordered[0] if ordered else None
