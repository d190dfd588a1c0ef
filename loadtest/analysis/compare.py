"""Two arms compared at equal recall and equal latency: per second, per dollar, and per joule where joules are known.

An experiment is a folder of run records with arms and blocks. Before any ratio is formed the records must be of one
kind: the same questions to the same index, the same objective, none invalid, none emulated, and either all simulated or
none. Only knees have a capacity to compare: a run at a fixed rate answers that rate on any machine that can. A replica
of the baseline (arm A′) is compared with it in the same way; its interval must contain 1, or the method has failed on
this very occasion, and its spread is the noise floor that is printed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
import scipy

from loadtest.analysis.arm import by_arm, price_of, side_of
from loadtest.analysis.ratio import FEWEST, Ratio, detectable, paired_ratio
from loadtest.analysis.reading import Reading
from loadtest.analysis.verdict import Verdict, judge
from loadtest.errors import RecordError
from loadtest.power.models import PowerRatio, power_ratio
from loadtest.record.run_record import Record

MARGIN = 0.02


class PowerBelief(msgspec.Struct, frozen=True):
    """Queries a joule by models: the ratio's 5, 50 and 95 % points and the probability that the candidate wins."""

    p5: float
    p50: float
    p95: float
    wins: float
    power: PowerRatio


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a report of two arms shows. Ratios are candidate over baseline; above 1 the candidate is better."""

    baseline: str
    candidate: str
    per_second: Ratio | None
    per_dollar: Ratio | None
    per_joule: Ratio | None
    joule_domain: str
    modelled: PowerBelief | None
    unmetered: str = ""  # why no joules were compared; empty when they were
    unmodelled: str = ""  # why no models were asked instead
    replica: Ratio | None
    noise_floor: float  # half-width of the A/A interval as a share, inf without a replica
    detectable: float
    margin: float
    problems: tuple[str, ...]
    reasons: tuple[str, ...]
    verdicts: dict[str, Verdict]

    @property
    def break_even_power(self) -> Ratio | None:
        """ρ*: the candidate wins a joule exactly if P_candidate / P_baseline is below it. It is the ratio of rates."""
        return self.per_second

    @property
    def headline(self) -> str:
        """The metric that decides: dollars if both are priced, else queries a second."""
        return "per dollar" if self.per_dollar is not None else "per second"

    @property
    def verdict(self) -> Verdict:
        return self.verdicts[self.headline]


def compare(
    runs: Sequence[Reading],
    baseline: str,
    candidate: str,
    *,
    replica: str | None = None,
    margin: float = MARGIN,
    level: float = 0.95,
) -> Comparison:
    """Compare two arms of `runs`. RecordError when they are not comparable at all."""
    arms = by_arm(runs)
    named = [baseline, candidate, *([replica] if replica else [])]
    for arm in named:
        if arm not in arms:
            raise RecordError(f"there is no arm {arm!r}; the records have {', '.join(sorted(arms))}")
    if len(set(named)) < len(named):
        raise RecordError(f"{', '.join(named)}: an arm is compared with another one, not with itself")
    chosen = [*arms[baseline], *arms[candidate], *(arms[replica] if replica else [])]
    same_question(chosen)
    problems = [f"{run.place}: {reason}" for run in chosen for reason in run.invalid]
    problems += [
        f"{run.place}: no capacity: {run.no_capacity}" for run in chosen if not run.invalid and run.capacity is None
    ]
    empty = Comparison(
        baseline=baseline, candidate=candidate, per_second=None, per_dollar=None, per_joule=None, joule_domain="",
        modelled=None, replica=None, noise_floor=math.inf, detectable=math.inf, margin=margin,
        problems=tuple(problems), reasons=(),
        verdicts=dict.fromkeys(("per second", "per dollar", "per joule"), Verdict.INVALID),
    )  # fmt: skip
    if problems:
        return empty
    per_second = paired_ratio(_rates(arms[candidate]), _rates(arms[baseline]), level)
    reasons = []
    if per_second.blocks < FEWEST:
        reasons.append(
            f"{per_second.blocks} blocks say nothing about the noise between runs; make at least {FEWEST}, better 8"
        )
    bounded = [*lower_bounds(chosen), *unequal_recall(arms[candidate], arms[baseline])]
    reasons += bounded
    aa = paired_ratio(_rates(arms[replica]), _rates(arms[baseline]), 0.99) if replica else None
    if aa is not None and not aa.low <= 1 <= aa.high:
        problem = (
            f"the replica of the baseline came out at {aa.estimate:.3f} [{aa.low:.3f}, {aa.high:.3f}] of itself "
            "(99 %): "
            "something other than the arms changed between the runs"
        )
        return msgspec.structs.replace(empty, problems=(problem,), replica=aa)
    per_dollar = _per_dollar(arms[candidate], arms[baseline], per_second)
    per_joule, domain, unmetered, told = _per_joule(arms[candidate], arms[baseline], level)
    reasons += told
    modelled, unmodelled = None, ""
    if per_joule is None:
        modelled, unmodelled = _belief(arms[candidate], arms[baseline], per_second)
    verdicts = {"per second": judge(per_second.low, per_second.high, margin)}
    verdicts["per dollar"] = judge(per_dollar.low, per_dollar.high, margin) if per_dollar else Verdict.INCONCLUSIVE
    if per_joule is not None:
        verdicts["per joule"] = judge(per_joule.low, per_joule.high, margin)
    elif modelled is not None:
        verdicts["per joule"] = judge(modelled.p5, modelled.p95, margin)
    else:
        verdicts["per joule"] = Verdict.INCONCLUSIVE
    shared = sorted({run.arm for run in chosen if run.record.shared})
    if per_joule is not None and shared:
        verdicts["per joule"] = Verdict.INCONCLUSIVE
        reasons.append(
            f"{', '.join(shared)}: the joules hold those of the generator, which ran on the machine under test; run it "
            "on another one"
        )
    if bounded:
        verdicts = dict.fromkeys(verdicts, Verdict.INCONCLUSIVE)
    floor = max(aa.high - 1, 1 - aa.low) if aa is not None and aa.blocks >= FEWEST else math.inf
    return msgspec.structs.replace(
        empty,
        per_second=per_second,
        per_dollar=per_dollar,
        per_joule=per_joule,
        joule_domain=domain,
        modelled=modelled,
        unmetered=unmetered,
        unmodelled=unmodelled,
        replica=aa,
        noise_floor=floor,
        detectable=detectable(per_second),
        reasons=tuple(reasons),
        verdicts=verdicts,
    )


def same_question(runs: Sequence[Reading], bytewise: bool = True) -> None:
    """RecordError unless all runs asked the same of the same; `bytewise`: of the very same generation."""
    first, *others = (run.record for run in runs)
    for record in others:
        if _engine(record) == _engine(first):
            _same_index(record, first, bytewise)
        else:
            _equal_quality(record, first)
        if record.label.simulated != first.label.simulated:
            raise RecordError("simulated and measured runs may not be compared")
        if record.objective != first.objective:
            raise RecordError(f"the runs have different objectives: {record.objective} and {first.objective}")
        ours, theirs = record.asked, first.asked
        same = (ours and ours.fingerprint) == (theirs and theirs.fingerprint)
        if not same and not _only_effort_differs(record, first) and not _same_queries(record, first):
            raise RecordError(
                f"{record.label.arm} and {first.label.arm} were asked different questions (workload fingerprints "
                "differ): "
                "use the same query file, k, filters and popularity"
            )


def lower_bounds(runs: Sequence[Reading]) -> list[str]:
    """Why some of the capacities are not known, or only from below, or were disturbed, so that their ratio decides
    nothing."""
    fixed = sorted({run.arm for run in runs if run.record.knee is None})
    limited = sorted({run.arm for run in runs if run.record.knee is not None and run.record.knee.reached_limit})
    unsteady = [f"{run.arm} (block {run.record.label.block})" for run in runs if run.beyond_knee]
    unproven = [f"{run.arm} (block {run.record.label.block})" for run in runs if run.unconfirmed]
    found = [f"{run.arm} (block {run.record.label.block}): {run.disturbance}" for run in runs if run.disturbance]
    if unproven:
        found.append(
            f"{', '.join(unproven)}: no longer trial near the knee proved the objective; give it more time, or more "
            "queries whose answers are known"
        )
    if unsteady:
        found.append(f"{', '.join(unsteady)}: more than its knee met the objective at another moment; repeat it")
    if fixed:
        found.append(f"{', '.join(fixed)}: loaded at a fixed rate, which shows no capacity; use perwatt loadtest knee")
    if limited:
        found.append(f"{', '.join(limited)}: the search ended at the highest rate allowed; raise --limit-rate")
    return found


def unequal_recall(candidate: Sequence[Reading], baseline: Sequence[Reading]) -> list[str]:
    """Why the rates are not at equal recall, where no run had to prove one: by the 95 % intervals of both sides."""
    sides = []
    for runs in (candidate, baseline):
        found = [run.trial.recall for run in runs if run.trial is not None and run.trial.recall is not None]
        if not found or any(run.record.objective.recall is not None for run in runs):
            return []
        sides.append(
            [sum(values) / len(found) for values in zip(*((r.low, r.mean, r.high) for r in found), strict=True)]
        )
    (low, mean, high), (other_low, other_mean, other_high) = sides
    if low <= other_high and other_low <= high:
        return []
    return [
        f"{candidate[0].arm} found {mean:.3f} of the true neighbours and {baseline[0].arm} {other_mean:.3f}: rates are "
        "compared at equal recall alone; measure both with --recall"
    ]


def _same_index(record: Record, first: Record, bytewise: bool) -> None:
    """Equal recall means little over unlike indexes; `bytewise` demands one generation, as it was shipped to both."""
    if record.served is None or first.served is None:
        return
    bytewise = bytewise and record.served.shards == first.served.shards  # each number of them is built for itself
    names = ["count", "dim", "metric", "model", *(["generation"] if bytewise else [])]
    for name in names:
        ours, theirs = getattr(record.served, name), getattr(first.served, name)
        if ours is not None and theirs is not None and ours != theirs:
            raise RecordError(
                f"{record.label.arm} (block {record.label.block}) and {first.label.arm} served different indexes: "
                f"{name} is {ours!r} and {theirs!r}. Build once and serve the same folder on both machines"
            )


def _engine(record: Record) -> str:
    return (record.served.engine if record.served else None) or "perwatt"


def _equal_quality(record: Record, first: Record) -> None:
    """RecordError unless two engines held the same documents and both had to prove a quality: their rates alone say
    nothing, because each can be had for less of it."""
    names = f"{record.label.arm} ({_engine(record)}) and {first.label.arm} ({_engine(first)})"
    for each in (record, first):
        if each.objective.recall is None or not any(trial.recall is not None for trial in each.trials):
            raise RecordError(
                f"{names} are different engines, whose rates may be divided at equal quality alone, and that of "
                f"{each.label.arm} is not known: measure both with --recall, and --truth or --qrels"
            )
    counts = [each.served.count for each in (record, first) if each.served is not None]
    if None not in counts and len(set(counts)) > 1:
        raise RecordError(f"{names} held {counts[0]:,} and {counts[1]:,} documents: fill both with the same")


def _same_queries(one: Record, other: Record) -> bool:
    """Two engines are asked the same in bytes of their own."""
    ours, theirs = one.asked, other.asked
    if ours is None or theirs is None or _engine(one) == _engine(other):
        return False
    return ours.questions != "" and (ours.questions, ours.k, ours.popularity) == (
        theirs.questions, theirs.k, theirs.popularity,
    )  # fmt: skip


def _only_effort_differs(one: Record, other: Record) -> bool:
    """At equal recall each machine has an effort of its own, which is part of a request's bytes."""
    if one.asked is None or other.asked is None or one.objective.recall is None:
        return False
    blank = {"fingerprint": ""}
    return msgspec.structs.replace(one.asked, **blank) == msgspec.structs.replace(other.asked, **blank)


def _rates(arm: Sequence[Reading]) -> dict[int, float]:
    found: dict[int, float] = {}
    for run in arm:
        block = run.record.label.block
        assert run.capacity is not None
        if block in found:
            raise RecordError(f"arm {run.arm!r} has two runs in block {block}")
        found[block] = run.capacity.qps
    return found


def _per_dollar(candidate: Sequence[Reading], baseline: Sequence[Reading], rate: Ratio) -> Ratio | None:
    ours, theirs = price_of(candidate), price_of(baseline)
    return rate.scaled(theirs.usd_per_hour / ours.usd_per_hour) if ours and theirs else None


def _per_joule(
    candidate: Sequence[Reading], baseline: Sequence[Reading], level: float
) -> tuple[Ratio | None, str, str, list[str]]:
    """The measured ratio and its domain; else why there is none, and what of that belongs into the first lines."""
    both = (*candidate, *baseline)
    unmetered = dict.fromkeys(run.no_joules for run in both if run.per_joule.evidence != "measured")
    if unmetered:
        return None, "", "; ".join(unmetered), []
    domains = sorted({run.per_joule.domain for run in both})
    if len(domains) != 1:
        why = f"joules were metered in unlike domains ({', '.join(domains)}) and are not divided"
        return None, "", why, [why]
    sides = [{run.record.label.block: run.per_joule.mid for run in side} for side in (candidate, baseline)]
    return paired_ratio(sides[0], sides[1], level), domains[0], "", []


def _belief(candidate: Sequence[Reading], baseline: Sequence[Reading], rate: Ratio) -> tuple[PowerBelief | None, str]:
    """Queries a joule by the models that know both machines; else why there is no such belief."""
    for side in (candidate, baseline):
        if why := side[0].no_model:
            return None, f"{side[0].arm}: {why}"
    sides = [side_of(arm) for arm in (candidate, baseline)]
    power = power_ratio(sides[0], sides[1]) if sides[0] and sides[1] else None
    if power is None:
        return None, "no power model has figures for both processors"
    if rate.blocks < FEWEST:
        return None, f"fewer than {FEWEST} blocks have no interval to put beside the models'"
    return believed(rate, power), ""


def believed(rate: Ratio, power: PowerRatio) -> PowerBelief:
    """Queries a joule from a measured ratio of rates and a modelled one of watts, whose uncertainties add."""
    centre = math.log(rate.estimate / power.median)
    sd = math.hypot(rate.log_se, power.log_sd)
    z = float(scipy.special.ndtri(0.95))
    wins = float(scipy.special.ndtr(centre / sd)) if sd > 0 else float(centre > 0)
    return PowerBelief(math.exp(centre - z * sd), math.exp(centre), math.exp(centre + z * sd), wins, power)
