"""The highest rate that meets the objective: double, bisect, fit, confirm.

Doubling finds a bracket, bisecting (geometrically) narrows it to the tolerance. A failing trial is repeated once before
it is believed, since a neighbour's hiccup on a shared machine would otherwise end the search at half the capacity; the
confirmation, three times as long and judged by the upper end of its interval, guards against the opposite.

Two numbers come out, and they are not the same thing:
    sustained_qps   the highest rate at which a confirmation *passed*: a promise, on the safe side
    knee_qps        where the fitted p99 crosses the objective: an estimate without the grid, with an interval.
                    Comparisons use it, because a promise on the safe side is further from the truth on the noisier
                    machine.

The fit is a straight line through 1/p99. Near saturation the tail of a queue grows like 1/(1 − ρ) (heavy traffic), so
its reciprocal falls linearly with the rate; for M/M/1 exactly: 1/p99 = (μ − λ)/ln 100.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from loadtest import units
from loadtest.errors import InvalidRun, TargetError
from loadtest.record.intervals import ENOUGH, bootstrap_quantiles_s
from loadtest.record.objective import Objective
from loadtest.record.results import Knee
from loadtest.record.trial import Trial
from loadtest.record.validity_checks import reasons

Measure = Callable[[float, float, str], Trial]  # rate_qps, duration_s, role

TOLERANCE = 0.03
NEAR = 1.6  # the fit uses trials whose p99 is within this factor of the objective: the line is only locally straight
LOWEST_QPS = 0.5
CONFIRMATIONS = 8  # are tried at most
FURTHEST = 1.12  # a confirmation is followed by one this much lower at most, however little was answered in it
TRIES = 3  # of one trial, when it was spoiled


def find_knee(
    measure: Measure,
    objective: Objective,
    *,
    start_qps: float = 50.0,
    limit_qps: float = 1e6,
    search_s: float = 10.0,
    confirm_s: float = 30.0,
    tolerance: float = TOLERANCE,
    growth: float = 2.0,
    confirmations: int = CONFIRMATIONS,
    tell: Callable[[str], None] = lambda line: None,
    trials: list[Trial] | None = None,
) -> tuple[Knee, list[Trial]]:
    """The knee and every trial that led to it, in order. Raises InvalidRun when trials were spoiled.

    `trials` is filled as they are made, so that they are there even then. `growth` is the factor of the first, coarse
    search; less than 2 is for those who know about where the knee lies. So many `confirmations` are tried, each a step
    lower than the one before, or as low as what was answered in it. Where one is missed by the point estimate too, the
    machine was faster in the short trials than it is: the bracket then begins below it.
    """
    trials = [] if trials is None else trials
    carefully = sound(measure, trials)

    def passes(rate: float) -> bool:
        for attempt in ("search", "search again"):
            trial = carefully(rate, search_s, "search")
            missed = objective.misses(trial, strict=False)
            tell(
                f"{attempt}: {rate:,.4g} q/s, p99 {units.seconds(trial.response_s(0.99))}: {'; '.join(missed) or 'met'}"
            )
            if not missed:
                return True
        return False

    low, high = 0.0, math.inf
    rate = min(start_qps, limit_qps)
    while math.isinf(high):
        if passes(rate):
            low = rate
            if rate >= limit_qps:
                break
            rate = min(rate * growth, limit_qps)
        elif low:
            high = rate
        else:
            tried, rate = rate, rate / growth**2
            if rate < LOWEST_QPS:
                last = "; ".join(objective.misses(trials[-1], strict=False))
                raise TargetError(f"the objective is not met even at {tried:g} q/s: {last}")
    while math.isfinite(high) and high / low > 1 + tolerance:
        middle = math.sqrt(low * high)
        low, high = (middle, high) if passes(middle) else (low, middle)

    rate, confirmed = low, False
    for _ in range(confirmations):
        trial = carefully(rate, confirm_s, "confirm")
        missed = objective.misses(trial, strict=True)
        tell(f"confirm: {rate:,.4g} q/s: {'; '.join(missed) or 'met'}")
        if not missed:
            confirmed = True
            break
        rate = min(rate / (1 + tolerance), max(trial.achieved_qps, rate / FURTHEST))
        if objective.misses(trial, strict=False):  # what a short trial met, a long one did not
            low = min(low, rate)
    bracket = (low, min(high, limit_qps))
    if _fails_by_tail(trials, high, objective):
        estimate, below, above = crossing(trials, objective.p99_ms / 1e3, bracket)
    else:  # where errors or recall end it, the line of the tail says nothing of where
        estimate, below, above = math.sqrt(low * bracket[1]), *bracket
    return (
        Knee(
            objective=objective,
            sustained_qps=rate if confirmed else 0.0,
            knee_qps=estimate,
            knee_low_qps=below,
            knee_high_qps=above,
            bracket_qps=bracket,
            tolerance=tolerance,
            confirmed=confirmed,
            reached_limit=math.isinf(high),
        ),
        trials,
    )


def _fails_by_tail(trials: Sequence[Trial], high: float, objective: Objective) -> bool:
    """Whether the tail is what fails from `high` on; so it is taken to be where nothing failed."""
    failed = [
        trial
        for trial in trials
        if trial.role != "voided" and trial.offered_qps >= high * 0.95 and objective.misses(trial, strict=False)
    ]
    return not failed or any(trial.response_s(0.99) * 1e3 > objective.p99_ms for trial in failed)


def sound(measure: Measure, trials: list[Trial], tries: int = TRIES) -> Measure:
    """`measure`, repeated when the generator stumbled or other programs took the CPUs; every trial goes to `trials`,
    the spoiled ones as "voided".

    One garbage collection of a neighbour must not end an hour of measuring. The last spoiled trial raises InvalidRun.
    """

    def careful(rate_qps: float, duration_s: float, role: str) -> Trial:
        for _ in range(tries):
            trial = measure(rate_qps, duration_s, role)
            trials.append(trial)
            if not trial.spoiled:
                return trial
            trial.role = "voided"
        trial.role = role
        raise InvalidRun(
            f"{tries} trials at {trial.offered_qps:,.4g} q/s say nothing about the service: {'; '.join(reasons(trial))}"
        )

    return careful


def crossing(
    trials: Sequence[Trial], slo_s: float, bracket: tuple[float, float], draws: int = 400
) -> tuple[float, float, float]:
    """Where the fitted p99 meets `slo_s`: estimate, and a 95 % interval from bootstrapping the trials and their slices.

    Both, because they see different noise: a trial of a few seconds has too few slices to resample, and what a
    neighbour does to the machine from one trial to the next is in no trial's slices.

    The middle of the bracket, and its ends, when fewer than three rates lie near the objective.
    """
    near = [t for t in trials if t.role != "voided" and slo_s / NEAR <= t.response_s(0.99) <= slo_s * NEAR]
    near = [t for t in near if t.planned and bracket[0] / 2 <= t.offered_qps <= bracket[1] * 2]
    middle = math.sqrt(bracket[0] * bracket[1])
    if len({t.offered_qps for t in near}) < 3:
        return middle, *bracket
    rates = np.array([t.offered_qps for t in near])
    weights = np.sqrt([t.answered for t in near])
    once = np.ones((len(near), 1))
    estimate = _solve(rates, np.array([[t.response_s(0.99)] for t in near]), weights, once, slo_s)[0]
    if not bracket[0] / 1.25 <= estimate <= bracket[1] * 1.25:
        return middle, *bracket
    tails = np.stack(
        [
            bootstrap_quantiles_s(t.slices, 0.99, draws, seed)
            if len(t.slices) >= ENOUGH
            else np.full(draws, t.response_s(0.99))
            for seed, t in enumerate(near)
        ]
    )
    drawn = np.random.default_rng(len(near)).multinomial(len(near), np.full(len(near), 1 / len(near)), draws).T
    solved = _solve(rates, tails, weights, drawn, slo_s)
    # A draw whose line hardly falls meets the objective anywhere.
    solved = np.clip(solved[np.isfinite(solved)], rates.min() / 2, rates.max() * 2)
    if len(solved) < draws // 2:
        return float(estimate), *bracket
    low, high = np.quantile(solved, [0.025, 0.975])
    return float(estimate), float(min(low, estimate)), float(max(high, estimate))


def _solve(rates: np.ndarray, p99_s: np.ndarray, weights: np.ndarray, drawn: np.ndarray, slo_s: float) -> np.ndarray:
    """Where the weighted least-squares line of 1/p99 on the rate meets 1/slo, a column a draw; nan where it rises.

    `drawn`: how often each trial is in a draw.
    """
    w = (weights**2)[:, None] * drawn
    y = 1.0 / p99_s
    x = rates[:, None]
    x_mean = (w * x).sum(0) / w.sum(0)
    y_mean = (w * y).sum(0) / w.sum(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = (w * (x - x_mean) * (y - y_mean)).sum(0) / (w * (x - x_mean) ** 2).sum(0)
        return np.where(slope < 0, x_mean + (1 / slo_s - y_mean) / slope, np.nan)
