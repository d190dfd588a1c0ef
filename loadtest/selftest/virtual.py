"""The proofs in virtual time: queues whose knee is known on paper, and experiments whose effect is planted."""

from __future__ import annotations

import math

import numpy as np

from loadtest.analysis.ratio import paired_ratio
from loadtest.experiment.knee import find_knee
from loadtest.power.models import Side, coefficients, power_ratio
from loadtest.record.objective import Objective
from loadtest.record.trial import Trial
from loadtest.selftest.proof import Proof
from loadtest.selftest.simulate import Queue, paper_knee_qps, simulated_trial


def knee_proof(name: str, queue: Queue, slo_s: float, seed: int = 11) -> Proof:
    """The measured knee is within 3 % of the one on paper."""
    number = [seed * 1000]

    def measure(rate: float, duration: float, role: str) -> Trial:
        number[0] += 1
        return simulated_trial(queue, rate, duration, number[0], role)

    knee, _ = find_knee(measure, Objective(p99_ms=slo_s * 1e3), search_s=30, confirm_s=90)
    paper = paper_knee_qps(queue, slo_s)
    off = knee.knee_qps / paper - 1
    safe = knee.confirmed and knee.sustained_qps <= paper * 1.03
    found = f"{knee.knee_qps:.1f} q/s, on paper {paper:.1f} ({off:+.2%}); confirmed at {knee.sustained_qps:.1f}"
    return Proof(f"{name} gives back its knee within 3 %", abs(off) <= 0.03 and safe, found)


def experiment(factor: float, blocks: int, seed: int) -> tuple[float, float]:
    """The interval of one simulated experiment: blocks with shared luck, trials with their own, tails heavier than
    normal.
    """
    random = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(9,)))
    hour = random.normal(0, 0.10, blocks)

    def arm(speed: float) -> dict[int, float]:
        own = random.standard_t(4, blocks) * 0.03
        return {block: 1000 * speed * math.exp(hour[block] + own[block]) for block in range(blocks)}

    ratio = paired_ratio(arm(factor), arm(1.0), seed=seed)
    return ratio.low, ratio.high


def coverage(factor: float, experiments: int, blocks: int = 8, seed: int = 0) -> int:
    """In how many of so many experiments the interval holds the planted factor."""
    held = 0
    for number in range(experiments):
        low, high = experiment(factor, blocks, seed * 100_003 + number)
        held += low <= factor <= high
    return held


def aa_proof() -> Proof:
    held = coverage(1.0, 100)
    return Proof("A/A includes 1.00 in at least 95 of 100 experiments", held >= 95, f"{held} of 100")


def planted_proof(factor: float) -> Proof:
    """The interval holds the planted factor, and an effect of this size is told from none with enough blocks."""
    held = coverage(factor, 100, blocks=16)
    low, high = experiment(factor, 16, 5)
    passed = held >= 93 and (factor < 1.2 or low > 1)
    return Proof(f"a planted {factor:.2f} is recovered", passed, f"{held} of 100; for example {low:.3f} to {high:.3f}")


def same_machine_proof() -> Proof:
    """One microarchitecture against itself is 1.00 in every model, and no model looks at an architecture's name."""
    wrong = []
    for micro in sorted({row.microarchitecture for row in coefficients()}):
        ratio = power_ratio(Side(micro, 8, 0.8), Side(micro, 8, 0.8))
        if ratio is None or ratio.median != 1.0 or ratio.log_sd != 0.0:
            wrong.append(micro)
    return Proof("identical machines compare as 1.00 in every model", not wrong, ", ".join(wrong) or "all rows")
