"""Carbon of a million queries: the Software Carbon Intensity of the Green Software Foundation, (E · I + M) per R.

E is the energy of everything that is reserved, idle hours included, and not of what the queries used; I is the grid
factor that the reader gave; M is the share of the making of the servers that their time is charged with; R is a million
queries at the objective. https://sci.greensoftware.foundation

Nobody publishes what making a server of a cloud emitted. M follows Cloud Carbon Footprint: a rack server of one socket
with 16 GB, more for more memory and for a second socket, divided by vCPUs among the machines of its family. Its
interval is one socket over six years to two sockets over four. It knows no architecture, so it favours none.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from statistics import fmean

import msgspec

from loadtest.analysis.fleet import Demand, Fleet, Span
from loadtest.prices.price import HOURS_A_MONTH, Price
from loadtest.prices.table import price_table

SERVER_KG, KG_PER_GB, GB_INCLUDED, KG_PER_SOCKET = 1000.0, 533 / 384, 16.0, 100.0
YEARS_LONG, YEARS_SHORT = 6.0, 4.0
HOURS_A_YEAR = 8760.0
WHOLE_SERVER_VCPUS = 48  # of a family's largest machine, or the table does not hold its server
EMBODIED_SOURCE = (
    "Cloud Carbon Footprint: https://github.com/cloud-carbon-footprint/cloud-carbon-coefficients "
    "(its constants); four years by its Embodied Emissions page, six by Scaleway's "
    "(https://github.com/scaleway/docs-content/pull/4971)"
)


class Sci(msgspec.Struct, frozen=True):
    """kgCO2e a million queries: of energy, of making, and both; None where something is missing, and then `why`."""

    energy_kg: Span | None
    embodied_kg: Span | None
    total_kg: Span | None
    why: str


def embodied_kg_per_hour(price: Price, table: Sequence[Price] | None = None) -> Span | None:
    """What an hour of the machine is charged with for its making; None where its whole server is not known."""
    family = [each for each in table or price_table() if _family(each) == _family(price)]
    server = price if price.provider == "own" else max([*family, price], key=lambda each: each.vcpus)
    if price.provider != "own" and server.vcpus < WHOLE_SERVER_VCPUS:
        return None
    single = SERVER_KG + KG_PER_GB * max(server.memory_gib - GB_INCLUDED, 0.0)
    share = price.vcpus / server.vcpus
    low = single * share / (YEARS_LONG * HOURS_A_YEAR)
    high = (single + KG_PER_SOCKET) * share / (YEARS_SHORT * HOURS_A_YEAR)
    return Span(low, math.sqrt(low * high), high)


def _family(price: Price) -> tuple[str, str, str]:
    """Machines that are pieces of the same server: c8g, c4a-standard, Standard_D…ps_v6."""
    name = price.instance
    if price.provider == "aws":
        name = name.split(".")[0]
    elif price.provider == "gcp":
        name = name.rpartition("-")[0]
    else:
        name = re.sub(r"(?<=_[A-Z])\d+", "", name)
    return price.provider, price.region, name


def sci(fleet: Fleet, price: Price | None, demand: Demand) -> Sci:
    """Of a fleet that carries the demand."""
    missing = []
    if fleet.kg_co2e_per_month is None:
        missing.append("no grid factor was given (--grid)" if fleet.kwh_per_month else fleet.why_no_energy)
    making = embodied_kg_per_hour(price) if price is not None else None
    if making is None:
        missing.append("the whole server behind the machine is not in the price table, so making it has no share")
    millions = demand.peak_qps * fmean(demand.shape) * HOURS_A_MONTH * 3600 / 1e6
    energy = fleet.kg_co2e_per_month.times(1 / millions) if fleet.kg_co2e_per_month else None
    embodied = None
    if making is not None:
        charged = zip(making, fleet.machine_hours, strict=True)
        embodied = Span(*(kg * hours / millions for kg, hours in charged))
    total = None
    if energy is not None and embodied is not None:
        total = Span(*(one + other for one, other in zip(energy, embodied, strict=True)))
    return Sci(energy, embodied, total, "; ".join(missing))
