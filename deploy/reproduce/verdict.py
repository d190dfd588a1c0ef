"""What becomes of a claim on the machine at hand.

A claim is judged only where what it depends on is the same: the processor, and the thing that was measured. Elsewhere
the ratio of this machine may be shown, and decides nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

from deploy.errors import DeployError
from deploy.reproduce.claim import Claim
from index.bench.errors import BenchError
from loadtest.analysis.ratio import Mean

Word = Literal["confirmed", "refuted", "undecided", "not comparable here"]
Measure = Callable[[Claim], Mean]


class MachineAtHand(NamedTuple):
    """The machine at hand."""

    microarchitecture: str
    architecture: str


class ClaimVerdict(NamedTuple):
    """
    Args:
        here: the ratio measured on this machine with its 95 % interval, None where none was.
        why: the conditions that differ, or what was compared.
    """

    claim: Claim
    word: Word
    here: Mean | None
    why: list[str]


def judged(claim: Claim, here: MachineAtHand, measure: Measure | None) -> ClaimVerdict:
    """measure: makes the trial of a claim; None: nothing is tried."""
    differ = differences(claim, here)
    found = None
    if claim.trial and measure is not None:
        try:
            found = measure(claim)
        except (BenchError, DeployError, ImportError) as error:
            differ = [*differ, f"not tried: {error}"]
    if differ or found is None or claim.low is None or claim.high is None:
        return ClaimVerdict(claim, "not comparable here", found, differ or ["nothing was tried"])
    word = word_of(found, claim.low, claim.high)
    why = [f"a ratio of {claim.low:g} to {claim.high:g} confirms it"]
    if word == "undecided":
        why.append("the interval reaches beyond that: try again on a quieter machine")
    return ClaimVerdict(claim, word, found, why)


def word_of(found: Mean, low: float, high: float) -> Word:
    """The interval of the measured ratio against that of the claim: inside, apart, or neither."""
    if low <= found.low and found.high <= high:
        return "confirmed"
    return "refuted" if found.high < low or found.low > high else "undecided"


def differences(claim: Claim, here: MachineAtHand) -> list[str]:
    """The conditions of the claim that this machine, or what can be tried on it, does not meet."""
    found = []
    if len(claim.machines) > 1:
        *others, last = claim.machines
        compared = f"{', '.join(others)} with {last}"
        found.append(f"it compares {compared}, and one machine is at hand ({here.microarchitecture})")
    elif claim.machines and claim.machines[0] != here.microarchitecture:
        found.append(f"it is of {claim.machines[0]}, and this is {here.microarchitecture} ({here.architecture})")
    if claim.ratio is None:
        found.append("no number, metric or objective was published that could be held against one")
    if claim.differs:
        found.append(claim.differs)
    if not claim.trial:
        found += [f"not at hand: {condition}" for condition in claim.conditions]
        if not found:
            found.append("nothing here measures it")
    return found
