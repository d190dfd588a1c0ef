"""What a second of processor time takes in joules on this machine, for `perwatt tune`."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from service.cli.judging import Interval
    from service.telemetry.spending import Spending


class EnergyPrice(NamedTuple):
    """What a second of processor time takes.

    Args:
        evidence: measured, or modelled; and by what.
    """

    joules: Interval
    evidence: str


def energy_of(spending: Spending) -> EnergyPrice | None:
    """By the machine's counters since `spending` was made, by the watts it was given, or by published models of this
    processor; None where none of them has it."""
    from loadtest.machine.facts import read_machine
    from loadtest.power.models import modelled_watts
    from service.cli.judging import Interval

    spending.note()
    found = spending.joules(1.0)
    if found is not None:
        return EnergyPrice(Interval(*found), f"{spending.evidence}: {spending.why()}")
    machine = read_machine(ask_imds=False)
    watts = modelled_watts(machine.microarchitecture, 1 / (machine.threads_per_core or 1), 1.0)
    if watts is None:
        return None
    models = ", ".join(watts.models)
    return EnergyPrice(Interval(watts.mid_w, watts.low_w, watts.high_w), f"modelled: a busy {machine.cpu} by {models}")
