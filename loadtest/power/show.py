"""What `perwatt power` prints: sources with a reading, what cannot be read with the remedy, and the models as a last
resort.
"""

from __future__ import annotations

import time
from pathlib import Path

from loadtest import units
from loadtest.errors import PowerError
from loadtest.machine import read_machine
from loadtest.power.meter import energy, read_all
from loadtest.power.models import modelled_watts, unmodelled
from loadtest.power.probe import choose, probe
from loadtest.power.sources import PowerSource


def show(root: Path, powercap: Path | None, redfish: str | None, shelly: str | None, seconds: float) -> list[str]:
    """The lines; each readable source is read over `seconds`."""
    found = probe(root, powercap=powercap, redfish=redfish, shelly=shelly)
    chosen = choose(found)
    lines = []
    for one in found:
        if isinstance(one, PowerSource):
            mark = "*" if one is chosen else " "
            lines.append(f"{mark} {one.name:18} {one.domain:14} {_reading(one, seconds)}  ({one.place})")
        else:
            lines += [f"  {one.name:18} not readable: {one.why}", f"  {'':18} → {one.remedy}"]
    if chosen is None:
        machine = read_machine(root, ask_imds=False)
        why = unmodelled(machine.microarchitecture, machine.cores, machine.cpu)
        if why is not None:
            lines.append(f"Not modelled either, so reports of this machine will have no joules: {why}.")
            return lines
        micro, cores = machine.microarchitecture, float(machine.cores or 0)
        idle, full = modelled_watts(micro, cores, 0.0), modelled_watts(micro, cores, 1.0)
        assert idle is not None
        assert full is not None
        lines.append(
            f"Modelled, not measured, for {cores:g} cores of {micro}: idle {units.watts(idle.low_w)} to "
            f"{units.watts(idle.high_w)}, full {units.watts(full.low_w)} to {units.watts(full.high_w)} "
            f"({', '.join(full.models)})"
        )
    else:
        lines.append("* is what runs will use; joules of unlike domains are never compared.")
    return lines


def _reading(source: PowerSource, seconds: float) -> str:
    try:
        first = read_all(source)
        time.sleep(seconds)
        second = read_all(source)
        spent = energy(source, [first, second], first.at_s, second.at_s)
    except PowerError as error:
        return f"failed: {error}"
    return units.watts(spent.watts)
