"""The whole load curve, not only its end: idle, then 10 % to 100 % of the sustained rate.

Servers spend most of their life at part load. Arm servers in the published results idle near half of their full power
and x86 servers near a fifth of it, so who wins a joule at the knee may lose it at night. SPECpower's summary is kept:
queries over joules, summed over all levels including idle.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from loadtest.experiment.knee import Measure
from loadtest.record.trial import Trial

LEVELS = 10


def load_curve(
    measure: Measure,
    idle: Callable[[], Trial] | None,
    capacity_qps: float,
    *,
    level_s: float = 10.0,
    levels: int = LEVELS,
    tell: Callable[[str], None] = lambda line: None,
) -> list[Trial]:
    """Trials from idle (when it can be watched) to full load in so many equal steps."""
    trials = [idle()] if idle is not None else []
    for level in (step / levels for step in range(1, levels + 1)):
        trial = measure(level * capacity_qps, level_s, "curve")
        tell(f"curve: {level:.0%}, {trial.offered_qps:,.4g} q/s, p99 {trial.response_s(0.99) * 1e3:.3g} ms")
        trials.append(trial)
    return trials


def queries_per_joule_over_curve(trials: Sequence[Trial]) -> float | None:
    """Σ achieved rate / Σ mean watts over all levels and idle, as SPECpower sums; None unless every level was metered.

    All levels must have been metered in one domain.
    """
    energies = [trial.energy for trial in trials]
    if not trials or any(energy is None for energy in energies):
        return None
    metered = [energy for energy in energies if energy is not None]
    if len({energy.domain for energy in metered}) != 1:
        return None
    watts = sum(energy.watts for energy in metered)
    return sum(trial.achieved_qps for trial in trials) / watts
