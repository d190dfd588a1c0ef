"""What the tables share: how one is written, a row of a target, and under which conditions figures were measured."""

from __future__ import annotations

from typing import Any

TARGET_HEADER = ["target", "aimed for", "reached", "compared with"]


def table(header: list[str], rows: list[list[object]]) -> str:
    cells = [header, ["---"] + ["---:"] * (len(header) - 1), *([str(cell) for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in cells)


def or_missed(met: bool, said: str) -> str:
    """A figure that has a target; one that misses it says so."""
    return said if met else f"**missed** {said}"


def processor(machine: dict[str, Any]) -> str:
    """Its name without trimmings, and which kernels it ran."""
    return f"{machine['cpu'].replace('(R)', '').removesuffix(' Processor')}, {machine['isa']}"


def conditions(measured: dict[str, Any]) -> str:
    host, versions = measured["machine"], measured["versions"]
    return (
        f"Measured {measured['measured_on']} on {host['cores']} cores of a shared virtual machine "
        f"({host['arch']}, {host['cpu']}, {host['isa']} kernels) with "
        + ", ".join(f"{name} {number}" for name, number in versions.items() if name != "perwatt")
        + "."
    )


def noise(figures: dict[str, Any]) -> str:
    """A warning where the run had not the machine to itself."""
    busy = figures["machine"]["load_average"]
    if busy < 1:
        return ""
    return f" **Other work ran beside it** (load average {busy:g} when it began): these figures are provisional."
