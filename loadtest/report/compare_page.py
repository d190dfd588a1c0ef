"""The report of a migration: two arms at equal recall and equal latency, and what would change the verdict."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean

from loadtest import units
from loadtest.analysis.arm import by_arm, price_of
from loadtest.analysis.compare import Comparison
from loadtest.analysis.decision import Decision, Plans, decide
from loadtest.analysis.engines import effort_in_words, engine_in_words, objective_in_words, settings_in_words
from loadtest.analysis.ratio import FEWEST, Ratio, blocks_needed, geometric_mean
from loadtest.analysis.reading import Reading
from loadtest.analysis.sensitivity import break_evens, joule_tornado, tornado
from loadtest.analysis.verdict import Verdict
from loadtest.record.run_record import Record
from loadtest.record.trial import RecallEstimate
from loadtest.report import charts
from loadtest.report.decision.first_page import first_page
from loadtest.report.machines import machine_section
from loadtest.report.page import Chart, Figure, Headline, Page, Section, Table
from loadtest.report.run_page import SIMULATED, foot, invalid_because
from loadtest.report.sections.fleet_section import fleet_section
from loadtest.report.sections.part_load_section import part_load_section
from loadtest.report.sections.shards_section import shards_in_words

TONES = {
    Verdict.BETTER: "good",
    Verdict.EQUAL: "good",
    Verdict.WORSE: "bad",
    Verdict.INCONCLUSIVE: "open",
    Verdict.INVALID: "void",
}
WORDS = {
    Verdict.BETTER: "Better",
    Verdict.EQUAL: "Equal within the margin",
    Verdict.WORSE: "Worse",
    Verdict.INCONCLUSIVE: "Inconclusive",
    Verdict.INVALID: "Invalid",
}


def compare_page(comparison: Comparison, runs: Sequence[Reading], plans: Plans | None = None) -> Page:
    """The page of a comparison: first for who signs, then for the engineer. With a demand, also the fleets."""
    plans = plans or Plans()
    demand = plans.demand
    sides = [by_arm(runs)[name] for name in (comparison.baseline, comparison.candidate)]
    pair = [side[0] for side in sides]
    first = pair[0].record
    decision = decide(comparison, sides, plans)
    sections: list[Section | None] = []
    sections.append(_problems_section(comparison) if comparison.problems else _ratios_section(comparison))
    if not comparison.problems:
        sections += [
            _arms_section(comparison, sides),
            part_load_section(comparison, sides),
            _energy_section(comparison),
        ]
        sections.append(_sensitivity_section(comparison, pair))
        if demand is not None:
            sections.append(fleet_section(sides, demand))
    sections.append(machine_section(pair))
    return Page(
        title=f"{decision.candidate} against {decision.baseline}",
        subtitle=f"{first.label.experiment or 'comparison'} · {len(runs)} runs · margin {comparison.margin:.0%}",
        banner=SIMULATED if first.label.simulated else "",
        headline=_headline(comparison, first, decision),
        figures=_figures(comparison, first.label.simulated),
        sections=[section for section in sections if section is not None],
        foot=foot(runs),
        signed=first_page(decision, comparison, sides),
    )


def _headline(comparison: Comparison, first: Record, decision: Decision) -> Headline:
    verdict = comparison.verdict
    evidence = "simulated" if first.label.simulated else "measured"
    if verdict is Verdict.INVALID:
        return Headline("Invalid", invalid_because(comparison.problems), "none", "void")
    ratio = comparison.per_dollar or comparison.per_second
    assert ratio is not None
    what = "queries a dollar" if comparison.per_dollar else "queries a second"
    sentence = f"{decision.candidate} gives {_stated(ratio)} the {what} of {decision.baseline}"
    sentence += f", at p99 ≤ {units.milliseconds(first.objective.p99_ms)}"
    quality = objective_in_words(first)
    sentence += f" and {quality}." if quality else "."
    if verdict is Verdict.INCONCLUSIVE and ratio.blocks >= FEWEST:
        needed = blocks_needed(ratio, max(abs(ratio.estimate - 1), 0.01))
        sentence += (
            f" To tell an effect of this size from noise would take about {needed} blocks; there were {ratio.blocks}."
        )
    sentence += "".join(f" {reason[0].upper()}{reason[1:]}." for reason in comparison.reasons)
    return Headline(f"{WORDS[verdict]}: {units.ratio(ratio.estimate)}", sentence, evidence, TONES[verdict])


def _stated(ratio: Ratio) -> str:
    if not math.isfinite(ratio.high):
        return f"{units.ratio(ratio.estimate)} (interval unknown)"
    return f"{units.ratio(ratio.estimate)} ({units.interval(ratio.low, ratio.high)}, 95 %)"


def _figures(comparison: Comparison, simulated: bool) -> list[Figure]:
    if comparison.problems:
        return []
    evidence = "simulated" if simulated else "measured"
    out = [_ratio_figure("Queries a second", comparison.per_second, comparison.verdicts["per second"], evidence)]
    if comparison.per_dollar is not None:
        out.append(
            _ratio_figure("Queries a dollar", comparison.per_dollar, comparison.verdicts["per dollar"], evidence)
        )
    rho = comparison.break_even_power
    if comparison.per_joule is not None:
        label = f"Queries a joule ({comparison.joule_domain})"
        out.append(_ratio_figure(label, comparison.per_joule, comparison.verdicts["per joule"], evidence))
    elif rho is not None:
        detail = f"{comparison.candidate} wins a joule exactly if it draws less than this share of the other's watts"
        out.append(Figure("Break-even power ratio ρ*", f"{rho.estimate:.2f}", detail, evidence))
    if comparison.modelled is not None:
        m = comparison.modelled
        detail = f"5 to 95 %: {units.interval(m.p5, m.p95)} · wins with probability {units.percent(m.wins, 2)}"
        out.append(Figure("Queries a joule, by models", units.ratio(m.p50), detail, "modelled"))
    if comparison.replica is not None:
        r = comparison.replica
        detail = (
            f"99 % interval {units.interval(r.low, r.high)} · noise floor {units.percent(comparison.noise_floor, 2)}"
        )
        out.append(Figure("Baseline against itself (A/A)", units.ratio(r.estimate), detail, evidence))
    return out


def _ratio_figure(label: str, ratio: Ratio | None, verdict: Verdict, evidence: str) -> Figure:
    if ratio is None:
        return Figure(label, "–", "not known", "none")
    detail = (
        f"{units.interval(ratio.low, ratio.high)} · {WORDS[verdict].lower()}"
        if math.isfinite(ratio.high)
        else "one or two blocks"
    )
    return Figure(label, units.ratio(ratio.estimate), detail, evidence)


def _ratios_section(comparison: Comparison) -> Section:
    ratio = comparison.per_second
    assert ratio is not None
    lead = (
        f"{ratio.blocks} blocks, each with every arm in its own order; ratios are formed within a block. The "
        "wider of Student's t "
        f"and a bootstrap over blocks decides ({ratio.decided_by} here). "
    )
    if comparison.replica is not None:
        lead += (
            "The replica is the baseline measured a second time as if it were another machine: its interval "
            "must contain 1. "
        )
    else:
        lead += "There is no replica of the baseline (A/A), so the noise floor of this experiment is not known. "
    if math.isfinite(comparison.detectable):
        lead += f"An effect below {units.percent(comparison.detectable, 2)} would have gone unseen."
    return Section("Ratio by block", lead, [c for c in (charts.blocks(comparison),) if c is not None])


def _arms_section(comparison: Comparison, sides: Sequence[Sequence[Reading]]) -> Section:
    found = [[run.capacity for run in side] for side in sides]
    rows: list[list[str]] = [
        ["Queries a second at the objective", *(_mean([c.qps if c else None for c in of]) for of in found)],
        ["  confirmed", *(_mean([c.sustained_qps or None if c else None for c in of]) for of in found)],
    ]
    for label, sizes in (
        ("  per vCPU", [side[0].vcpus for side in sides]),
        ("  per physical core", [side[0].cores for side in sides]),
    ):
        means = [
            _mean([c.qps / size if c and size else None for c in of]) for of, size in zip(found, sizes, strict=True)
        ]
        rows.append([label, *(f"{m}; {s:g} of them" if s else m for m, s in zip(means, sizes, strict=True))])
    rows.append(["Queries a dollar", *(_mean([run.per_dollar for run in side]) for side in sides)])
    rows.append(["Dollars a million queries", *(_mean([run.usd_per_million for run in side]) for side in sides)])
    prices = [price_of(side) for side in sides]
    rows.append(["Price", *(p.stated() if p else side[0].no_price for p, side in zip(prices, sides, strict=True))])
    trials = [[run.trial for run in side if run.trial is not None] for side in sides]
    tails = [[t.response_s(0.99) for t in of] for of in trials]
    rows.append(
        ["p99 at the confirmed rate", *(units.spread(min(of), max(of), units.seconds) if of else "–" for of in tails)]
    )
    rows.append(["Recall", *(_recall([t.recall for t in of if t.recall is not None]) for of in trials)])
    shares = [[t.cached_share for t in of if t.cached_share is not None] for of in trials]
    if any(shares):
        found_there = [units.spread(min(of), max(of), units.percent) if of else "–" for of in shares]
        drawn = [
            sorted({run.record.asked.popularity for run in side if run.record.asked is not None}) for side in sides
        ]
        rows.append(["Texts from the query cache", *found_there])
        rows.append(["Queries drawn by", *(", ".join(of) or "–" for of in drawn)])
    rows.append(["Energy a query", *(energy_of_a_query(side) for side in sides)])
    efforts = [sorted({effort_in_words(run.record, run.trial) for run in side if run.trial}) for side in sides]
    rows.append(["Search effort", *(", ".join(of) or "–" for of in efforts)])
    served = [side[0].record.served for side in sides]
    if any(map(shards_in_words, served)):
        rows.append(["Shards and replicas", *(shards_in_words(each) or "in one piece, no router" for each in served)])
    if any(each is not None and each.engine not in (None, "perwatt") for each in served):
        rows.append(["Engine", *(engine_in_words(each) if each else "not told" for each in served)])
        rows.append(["Index settings", *(settings_in_words(each.settings) if each else "not told" for each in served)])
    lead = (
        "Geometric means over all blocks with their 95 % intervals; p99 and recall from the lowest to the highest "
        "block. The arms of a block share its hour, so intervals that overlap here say nothing against the ratio. A "
        "vCPU is a whole core on some machines and half of one on others."
    )
    return Section("The arms", lead, [Table(["", comparison.baseline, comparison.candidate], rows)])


def energy_of_a_query(side: Sequence[Reading]) -> str:
    """With its class: measured in a domain, modelled as an interval, or none."""
    found = [run.per_joule for run in side]
    if any(each.evidence != found[0].evidence or each.domain != found[0].domain for each in found):
        return "of unlike classes in its blocks"
    if found[0].evidence == "none":
        return "none: neither measured nor modelled"
    low, high = (1 / end for end in (max(each.high for each in found), min(each.low for each in found)))
    return f"{units.spread(low, high, units.joules)}, {found[0].evidence} ({found[0].domain.split(',')[0]})"


def _mean(of: list[float | None]) -> str:
    known = [value for value in of if value is not None]
    if not known:
        return "–"
    mean = geometric_mean(known)
    text = units.digits(mean.estimate)
    return f"{text} ({units.spread(mean.low, mean.high)})" if mean.blocks >= FEWEST else text


def _recall(of: list[RecallEstimate]) -> str:
    if not of:
        return "not measured"
    return f"{fmean(r.mean for r in of):.3f} ({min(r.low for r in of):.3f} to {max(r.high for r in of):.3f})"


def _energy_section(comparison: Comparison) -> Section:
    parts: list[Table | Chart | str] = []
    rho = comparison.break_even_power
    watts = f"less than ρ* = {rho.estimate if rho else math.nan:.2f} of the watts of {comparison.baseline}"
    if comparison.per_joule is not None:
        lead = f"Measured on both sides in the same domain ({comparison.joule_domain})."
    elif comparison.modelled is not None:
        lead = (
            f"No joules were compared: {comparison.unmetered}. Each model is applied to both sides with its own "
            "constants, and the interval spans them all; whatever one believes of them, "
            f"{comparison.candidate} wins a joule exactly if it draws {watts}. "
        )
        if comparison.modelled.p5 < 1 < comparison.modelled.p95:
            lead += "The models do not agree on who wins: per joule, this is inconclusive."
    else:
        lead = (
            f"No joules were compared: {comparison.unmetered}; and none modelled: {comparison.unmodelled}. "
            f"{comparison.candidate} wins a joule exactly if it draws {watts}."
        )
    chart = charts.bars(joule_tornado(comparison), "Queries a joule by each model alone, and by all together")
    if chart is not None:
        parts.append(chart)
    return Section("Energy", lead, parts)


def _sensitivity_section(comparison: Comparison, pair: Sequence[Reading]) -> Section:
    parts: list[Table | Chart | str] = []
    chart = charts.bars(tornado(comparison), "The deciding ratio when one input moves over its range")
    if chart is not None:
        parts.append(chart)
    rows = [
        [
            point.what,
            f"{units.digits(point.value)} {point.unit}",
            f"{units.digits(point.low)} to {units.digits(point.high)}",
        ]
        for point in break_evens(comparison, pair[1].price, pair[0].price)
    ]
    if rows:
        parts.append(Table(["Break-even", "Value", "95 %"], rows))
    lead = (
        "Each bar moves one input over its range and leaves the rest alone. A bar across 1 could turn the "
        "verdict by itself. "
        f"{comparison.candidate} wins below the break-even values."
    )
    return Section("What would change the verdict", lead, parts)


def _problems_section(comparison: Comparison) -> Section:
    return Section("Why", "", [Table(["Reason"], [[problem] for problem in comparison.problems])])
