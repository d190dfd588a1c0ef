"""What stands on the page that someone signs: what to do, dollars a year, energy in words, what would turn the verdict,
and one table of everything that was assumed."""

from __future__ import annotations

import math
from collections.abc import Sequence

from loadtest import units
from loadtest.analysis.arm import price_of
from loadtest.analysis.compare import Comparison
from loadtest.analysis.decision import Bill, Decision, money_span, months_span
from loadtest.analysis.reading import Reading
from loadtest.report.decision.assumptions import assumptions_section
from loadtest.report.page import Figure, Section, Signed, Table


def first_page(decision: Decision, comparison: Comparison, sides: Sequence[Sequence[Reading]]) -> Signed:
    advice = decision.action.sentence
    if sides[0][0].record.label.simulated:
        advice = f"If these machines were real: {advice[0].lower()}{advice[1:]}"
    sections: list[Section | None] = [Section("What to do", advice, [])]
    if not comparison.problems:
        sections += [_dollars_section(decision, sides), _energy_section(decision, comparison)]
        sections += [_turning_section(decision, comparison, sides), assumptions_section(decision, comparison, sides)]
    return Signed(_figures(decision, comparison, sides), [section for section in sections if section is not None])


def _figures(decision: Decision, comparison: Comparison, sides: Sequence[Sequence[Reading]]) -> list[Figure]:
    if comparison.problems:
        return []
    evidence = "simulated" if sides[0][0].record.label.simulated else "measured"
    out = []
    if decision.bills:
        bill = decision.bills[0]
        detail = f"{_spread(bill.candidate_usd)} instead of {_spread(bill.baseline_usd)}, {bill.purchase}"
        label = "Saved a year" if bill.saved_usd.mid >= 0 else "Saved a year (a loss)"
        out.append(Figure(label, units.money(bill.saved_usd.mid), f"{_ends(bill)} · {detail}", evidence))
    if decision.payback_months is not None:
        months, ends = _split(months_span(decision.payback_months))
        cost = f"{units.money(decision.plans.migration_usd or 0)} to move"
        out.append(Figure("Moving pays back after", months, f"{ends} · {cost}", evidence))
    rho = comparison.break_even_power
    if rho is not None:
        detail = "of the other's power: what it may draw at most to win a joule"
        out.append(Figure("Break-even power", units.percent(rho.estimate), detail, evidence))
    return out


def _split(words: str) -> tuple[str, str]:
    """ "13 months (10 to 18)" as the value and what stands in its brackets."""
    value, _, ends = words.partition(" (")
    return value, ends.removesuffix(")")


def _spread(span: Sequence[float]) -> str:
    return units.spread(span[0], span[2], units.money)


def _ends(bill: Bill) -> str:
    if math.isnan(bill.saved_usd.low):
        return "interval unknown"
    return units.spread(bill.saved_usd.low, bill.saved_usd.high, units.money)


def _dollars_section(decision: Decision, sides: Sequence[Sequence[Reading]]) -> Section:
    title = "Dollars a year"
    if not decision.bills:
        missing = [f"{side[0].arm}: {side[0].no_price}" for side in sides if price_of(side) is None]
        why = f"no price: {'; '.join(missing)}" if missing else "the fleet was not given: --peak, --shape, --headroom"
        return Section(title, f"Not known, because {why}.", [])
    rows = [
        [
            bill.purchase,
            _spread(bill.baseline_usd),
            _spread(bill.candidate_usd),
            money_span(bill.saved_usd),
            f"{units.ratio(bill.per_dollar.mid)}, {bill.verdict.value}",
        ]
        for bill in decision.bills
    ]
    columns = ["Bought", decision.baseline, decision.candidate, "Saved", "Queries a dollar"]
    note = "The machines alone: no storage, transfer or tax. A commitment is paid for the peak's size all year."
    if len(decision.bills) == 1:
        note += " Commitments and spot: as you were quoted them, with --offers."
    return Section(title, "", [Table(columns, rows, note)])


def _energy_section(decision: Decision, comparison: Comparison) -> Section | None:
    rho, ours, theirs = comparison.break_even_power, decision.candidate, decision.baseline
    if rho is None:
        return None
    says = f"{ours} wins per joule if it draws less than {units.percent(rho.estimate)} of the power of {theirs}"
    if math.isfinite(rho.high):
        says += f" (95 % interval: {units.percent(rho.low)} to {units.percent(rho.high)})"
    says += "."
    if comparison.per_joule is not None:
        joule = comparison.per_joule
        says += (
            f" Measured, it gives {units.ratio(joule.estimate)} ({units.interval(joule.low, joule.high)}) the "
            f"queries a joule ({comparison.joule_domain})."
        )
    elif comparison.modelled is not None:
        power = comparison.modelled.power
        low, high = (units.percent(power.quantile(z), 2) for z in (-1.645, 1.645))
        says += (
            f" Nobody measured that here: {comparison.unmetered}. Published models put it between {low} and {high}, "
            f"which makes a win {units.percent(comparison.modelled.wins, 2)} likely, if the models are right."
        )
    else:
        says += f" Nobody measured that here ({comparison.unmetered}), and no model says it: {comparison.unmodelled}."
    return Section("Energy", says, [])


def _turning_section(decision: Decision, comparison: Comparison, sides: Sequence[Sequence[Reading]]) -> Section:
    ratio = comparison.per_dollar or comparison.per_second
    assert ratio is not None
    what = f"queries {comparison.headline.replace('per', 'a')}"
    ours, theirs, parts = decision.candidate, decision.baseline, []
    change, back = (units.percent(abs(by - 1), 2) for by in (1 / ratio.estimate, ratio.estimate))
    better = ratio.estimate >= 1
    less, more = ("fewer", "more") if better else ("more", "fewer")
    rate = comparison.per_second
    assert rate is not None
    parts.append(f"Speed: {ours} answering {change} {less} queries at the objective, or {theirs} {back} {more}.")
    prices = [price_of(side) for side in sides]
    if comparison.per_dollar is not None and prices[0] and prices[1] and prices[0].instance != prices[1].instance:
        at = prices[0].usd_per_hour * rate.estimate
        ours_usd = prices[1].usd_per_hour
        word = "or more" if better else "or less"
        parts.append(
            f"Price: {ours} at ${units.digits(at)} an hour {word} ({_signed(at / ours_usd - 1)}; it is ${ours_usd:g}), "
            f"with {theirs} at its ${prices[0].usd_per_hour:g}."
        )
    for bill in decision.bills[1:]:
        if bill.verdict is not decision.bills[0].verdict:
            parts.append(f"Purchase: bought by {bill.purchase}, the verdict is {bill.verdict.value}.")
    if ratio.low <= 1 <= ratio.high:
        parts.append(f"Noise: the interval of {what} holds 1, so more blocks may turn it either way.")
    elif math.isfinite(comparison.noise_floor) and abs(ratio.estimate - 1) < comparison.noise_floor:
        floor = units.percent(comparison.noise_floor, 2)
        parts.append(f"Noise: two equal machines came out up to {floor} apart here, which is more than the difference.")
    return Section("What would turn the verdict", "", list(parts))


def _signed(share: float) -> str:
    return f"{'+' if share >= 0 else '−'}{units.percent(abs(share), 2)}"
