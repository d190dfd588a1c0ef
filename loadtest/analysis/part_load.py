"""Two machines at the utilisation one runs at: 40, 60, 80 and 100 % of what each confirmed.

At a share of its own knee each machine answers that share of its own rate, so their rates keep one ratio. What need not
keep it: response times, how busy the CPUs are (two hyper-threads share a core, so a machine that has them looks half
idle long before it is), and watts (servers differ in what they draw when they do little).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import msgspec

from loadtest.analysis.arm import side_of
from loadtest.analysis.compare import Comparison, PowerBelief, believed
from loadtest.analysis.ratio import FEWEST, Ratio, geometric_mean, paired_ratio
from loadtest.analysis.reading import Reading
from loadtest.power.models import power_ratio
from loadtest.record.trial import Trial

SHARES = (0.4, 0.6, 0.8, 1.0)
NEAR = 0.03  # of the knee: a level of the curve that is as near counts as the share
QUANTILES = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999}


class Pair(msgspec.Struct, frozen=True):
    """One quantity of both machines, as means over their blocks, and how many times better the candidate is."""

    baseline: float
    candidate: float
    ratio: Ratio | None


class Level(msgspec.Struct, frozen=True):
    """At `share` of each machine's own knee. Times by the name of their quantile; None: nobody recorded it."""

    share: float
    response_s: dict[str, Pair]
    busy: Pair | None  # share of the machine's CPUs
    per_cpu_second: Pair | None
    per_joule: Pair | None
    modelled_per_joule: PowerBelief | None


def part_load(comparison: Comparison, sides: Sequence[Sequence[Reading]]) -> list[Level]:
    """The shares at which both machines have a level of their load curve."""
    found = []
    for share in SHARES:
        trials = [{run.record.label.block: (run, trial) for run in side if (trial := at_share(run, share))}
                  for side in sides]  # fmt: skip
        if not all(trials):
            continue

        def pair(
            value: Callable[[Reading, Trial], float | None],
            less_is_better: bool = False,
            trials: list[dict[int, tuple[Reading, Trial]]] = trials,
        ) -> Pair | None:
            return _pair([{block: value(*seen) for block, seen in side.items()} for side in trials], less_is_better)

        times = {name: pair(_response(q), True) for name, q in QUANTILES.items()}
        found.append(
            Level(
                share,
                {name: both for name, both in times.items() if both is not None},
                pair(_busy, True),
                pair(lambda _run, trial: trial.achieved_qps / trial.cores_used if trial.cores_used > 0 else None),
                pair(_per_joule) if comparison.per_joule is not None else None,
                _modelled(comparison, sides, share) if comparison.modelled is not None else None,
            )
        )
    return found


def at_share(run: Reading, share: float) -> Trial | None:
    """The level of the run's load curve at a share of what it confirmed; None where its curve has none."""
    if run.capacity is None:
        return None
    knee = run.capacity.promised_qps
    near = min(run.curve, key=lambda trial: abs(trial.offered_qps / knee - share), default=None)
    return near if near is not None and abs(near.offered_qps / knee - share) <= NEAR else None


def _response(q: float) -> Callable[[Reading, Trial], float | None]:
    return lambda _run, trial: trial.response_s(q)


def _busy(run: Reading, trial: Trial) -> float | None:
    return trial.cores_used / run.vcpus if run.vcpus and trial.cores_used > 0 else None


def _per_joule(_run: Reading, trial: Trial) -> float | None:
    return trial.answered / trial.energy.joules if trial.energy is not None and trial.energy.joules > 0 else None


def _pair(sides: Sequence[dict[int, float | None]], less_is_better: bool) -> Pair | None:
    known = [{block: v for block, v in side.items() if v is not None and 0 < v < math.inf} for side in sides]
    if not all(known):
        return None
    means = [geometric_mean(list(side.values())).estimate for side in known]
    better, worse = (known[0], known[1]) if less_is_better else (known[1], known[0])
    ratio = paired_ratio(better, worse) if better.keys() & worse.keys() else None
    return Pair(means[0], means[1], ratio)


def _modelled(comparison: Comparison, sides: Sequence[Sequence[Reading]], share: float) -> PowerBelief | None:
    machines = [side_of(side) for side in sides]
    if machines[0] is None or machines[1] is None or comparison.per_second is None:
        return None
    if comparison.per_second.blocks < FEWEST:
        return None
    there = [msgspec.structs.replace(each, utilisation=each.utilisation * share) for each in machines if each]
    power = power_ratio(there[1], there[0])
    return believed(comparison.per_second, power) if power is not None else None
