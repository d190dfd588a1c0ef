"""What a comparison comes to for who signs: dollars a year, months until moving pays back, and what to do.

Nothing is measured here and nothing assumed: demand, prices and the cost of moving are the reader's own, and the rest
is in the records. The saving of a year is worked out at both ends of the baseline's own rate and at both ends of the
ratio, so its interval holds what either may do, and machines are bought whole.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from loadtest import units
from loadtest.analysis.arm import price_of
from loadtest.analysis.compare import Comparison, lower_bounds
from loadtest.analysis.engines import subject_names
from loadtest.analysis.fleet import Demand, Span, hours_a_month, promised
from loadtest.analysis.ratio import FEWEST, Ratio, blocks_needed, paired_ratio
from loadtest.analysis.reading import Reading
from loadtest.analysis.verdict import Verdict, judge
from loadtest.prices.offers import PriceOffer, offers_of

MONTHS = 12
NOT_YET = "Not yet"
WELL = 8  # blocks that an experiment had better have


class Plans(msgspec.Struct, frozen=True):
    """What only the reader knows; None and empty where it was not given."""

    demand: Demand | None = None
    offers: Sequence[PriceOffer] = ()
    migration_usd: float | None = None


class Bill(msgspec.Struct, frozen=True):
    """A year of both fleets bought in one way. A span's ends are NaN where too few blocks give no interval."""

    purchase: str
    baseline_usd: Span
    candidate_usd: Span
    saved_usd: Span
    per_dollar: Span  # the ratio of queries a dollar
    verdict: Verdict
    prices: tuple[str, str]


class Action(msgspec.Struct, frozen=True):
    """`word` is what to do; NOT_YET is followed by a reason."""

    word: str
    why: str

    @property
    def sentence(self) -> str:
        return f"{self.word}{', because ' if self.word == NOT_YET else ': '}{self.why}."


class Decision(msgspec.Struct, frozen=True):
    """Names are those for people, `subject_names`. `bills` begins with the price table's own purchase."""

    baseline: str
    candidate: str
    plans: Plans
    bills: tuple[Bill, ...]
    payback_months: Span | None
    action: Action


def decide(comparison: Comparison, sides: Sequence[Sequence[Reading]], plans: Plans) -> Decision:
    """sides: the runs of the baseline and of the candidate."""
    names = subject_names(sides[0][0], sides[1][0])
    bills = () if comparison.problems else tuple(_bills(comparison, sides, plans))
    payback = _payback(bills[0].saved_usd, plans.migration_usd) if bills else None
    action = _action(comparison, names, bills, payback, plans, lower_bounds([*sides[0], *sides[1]]))
    return Decision(names[0], names[1], plans, bills, payback, action)


class _Way(msgspec.Struct, frozen=True):
    """One way to buy both machines."""

    purchase: str
    baseline_usd: float
    candidate_usd: float
    prices: tuple[str, str]
    committed: bool


def _bills(comparison: Comparison, sides: Sequence[Sequence[Reading]], plans: Plans) -> list[Bill]:
    base, other = (price_of(side) for side in sides)
    if base is None or other is None or plans.demand is None:
        return []
    stated = (base.stated(), other.stated())
    ways = [_Way(base.purchase, base.usd_per_hour, other.usd_per_hour, stated, False)]
    theirs, ours = (offers_of(price.instance, plans.offers) for price in (base, other))
    for purchase in [purchase for purchase in theirs if purchase in ours]:
        one, two = theirs[purchase], ours[purchase]
        stated = (one.stated(), two.stated())
        ways.append(_Way(purchase, one.usd_per_hour, two.usd_per_hour, stated, one.committed))
    each, faster = [promised(side)[0] for side in sides], _faster(sides)
    return [_bill(comparison, way, each, faster, plans.demand) for way in ways]


def _faster(sides: Sequence[Sequence[Reading]]) -> Ratio:
    """The ratio of what was confirmed, by which fleets are sized."""
    found = [{run.record.label.block: run.capacity.promised_qps for run in side if run.capacity} for side in sides]
    return paired_ratio(found[1], found[0])


def _bill(comparison: Comparison, way: _Way, each: Sequence[Span], faster: Ratio, demand: Demand) -> Bill:
    def baseline(qps: float) -> float:
        return hours_a_month(demand, qps, way.committed) * MONTHS * way.baseline_usd

    def candidate(qps: float) -> float:
        return hours_a_month(demand, qps, way.committed) * MONTHS * way.candidate_usd

    mid = baseline(each[0].mid) - candidate(each[1].mid)
    saved = Span(math.nan, mid, math.nan)
    if faster.blocks >= FEWEST:
        ratios = (faster.low, faster.estimate, faster.high)
        corners = [baseline(qps) - candidate(qps * by) for qps in each[0] for by in ratios]
        saved = Span(min(*corners, mid), mid, max(*corners, mid))
    assert comparison.per_second is not None
    scaled = comparison.per_second.scaled(way.baseline_usd / way.candidate_usd)
    verdict = judge(scaled.low, scaled.high, comparison.margin)
    own = comparison.per_dollar or comparison.per_second  # of the price that the records carry
    decided = comparison.verdict is judge(own.low, own.high, comparison.margin)  # no capacity was but a lower bound
    return Bill(
        purchase=way.purchase,
        baseline_usd=Span(*(baseline(qps) for qps in reversed(each[0]))),
        candidate_usd=Span(*(candidate(qps) for qps in reversed(each[1]))),
        saved_usd=saved,
        per_dollar=Span(scaled.low, scaled.estimate, scaled.high),
        verdict=verdict if decided else Verdict.INCONCLUSIVE,
        prices=way.prices,
    )


def _payback(saved: Span, migration_usd: float | None) -> Span | None:
    """Months; infinite where nothing may be saved, None where moving has no price or saves nothing."""
    if migration_usd is None or saved.mid <= 0:
        return None
    ends = [migration_usd / (end / 12) if end > 0 else math.inf for end in (saved.high, saved.mid, saved.low)]
    known = not math.isnan(saved.low)
    return Span(ends[0] if known else math.nan, ends[1], ends[2] if known else math.nan)


def _action(
    comparison: Comparison,
    names: tuple[str, str],
    bills: Sequence[Bill],
    payback: Span | None,
    plans: Plans,
    bounded: Sequence[str],
) -> Action:
    verdict, (baseline, candidate) = comparison.verdict, names
    if verdict is Verdict.INVALID:
        return Action(NOT_YET, f"the measurement failed its own checks: {comparison.problems[0]}. Measure again")
    if verdict is Verdict.INCONCLUSIVE:
        return Action(NOT_YET, _missing(comparison, bounded))
    if verdict is Verdict.WORSE:
        return Action(
            f"Stay with {baseline}", f"{candidate} answers fewer queries {comparison.headline.replace('per', 'a')}"
        )
    if verdict is Verdict.EQUAL:
        why = f"the two differ by less than the {comparison.margin:.0%} that was said not to matter"
        return Action("Either will do", f"{why}; moving has to be worth its cost for another reason")
    if not bills:
        return Action(
            f"{candidate} is better", f"whether to move is a matter of dollars a year, and {_unpriced(plans)}"
        )
    saved = bills[0].saved_usd
    if not saved.low > 0:
        return Action(
            "Not for money at this size",
            f"a query costs less on {candidate}, but machines are bought whole, and this fleet would save "
            f"{money_span(saved)} a year",
        )
    why = f"it saves {money_span(saved)} a year"
    if payback is None:
        why += "; what moving costs was not given (--migration-usd), so when it pays back is not known"
    else:
        why += (
            f", and the {units.money(plans.migration_usd or 0)} that moving costs are back after {months_span(payback)}"
        )
    if comparison.replica is None:
        why += f". {baseline} was not measured against itself (A/A), so how much two equal machines differ is not known"
    return Action(f"Move to {candidate}", why)


def _missing(comparison: Comparison, bounded: Sequence[str]) -> str:
    """Why there is no verdict, and the blocks that would bring one; bounded: why capacities are not known."""
    ratio = comparison.per_dollar or comparison.per_second
    assert ratio is not None
    if ratio.blocks < FEWEST:
        words = "1 block says" if ratio.blocks == 1 else f"{ratio.blocks} blocks say"
        return (
            f"{words} nothing about the noise between runs: make {FEWEST - ratio.blocks} more at the least, "
            f"better {WELL - ratio.blocks}"
        )
    if bounded:
        return bounded[0]
    needed = blocks_needed(ratio, max(abs(ratio.estimate - 1), 0.01))
    return (
        f"the interval, {units.interval(ratio.low, ratio.high)}, holds both a gain and a loss: about "
        f"{max(needed - ratio.blocks, 1)} more blocks would tell ({ratio.blocks} were made)"
    )


def _unpriced(plans: Plans) -> str:
    if plans.demand is None:
        return "the fleet was not given (--peak)"
    return "not both machines have a price (--instance)"


def money_span(span: Span) -> str:
    """ "$36,900 (29,800 to 43,100)"; without its interval where there is none."""
    mid = units.money(span.mid)
    if math.isnan(span.low):
        return f"{mid} (interval unknown)"
    ends = units.spread(span.low, span.high, units.money)
    return mid if ends == mid else f"{mid} ({ends})"


def months_span(span: Span) -> str:
    mid = f"{units.digits(span.mid, 2)} months"
    if math.isnan(span.low):
        return f"{mid} (interval unknown)"
    if math.isinf(span.high):
        return f"{mid} ({units.digits(span.low, 2)} at best; at worst never)"
    return f"{mid} ({units.digits(span.low, 2)} to {units.digits(span.high, 2)})"
