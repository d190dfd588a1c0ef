"""A few lines for the terminal, right after a run."""

from __future__ import annotations

from loadtest import units
from loadtest.analysis.costs.encoder_bill import encoder_bill
from loadtest.analysis.engines import measure_in_words
from loadtest.analysis.reading import Reading
from loadtest.analysis.sharding import per_cpu_second
from loadtest.report.sections.shards_section import shards_in_words


def run_lines(reading: Reading) -> list[str]:
    """The reading of one record in plain lines. An invalid run has reasons and no number."""
    record, found, trial = reading.record, reading.capacity, reading.trial
    if reading.invalid:
        said = (*dict.fromkeys(reading.invalid), *reading.remedies)
        return ["INVALID: no number is shown.", *(f"  {line}" for line in said)]
    lines = [f"disturbed: {reading.disturbance}"] if reading.disturbance else []
    limit = units.milliseconds(record.objective.p99_ms)
    if record.knee is not None and found is not None:
        more = " or more (the highest rate allowed was met)" if record.knee.reached_limit else ""
        bounds = f" [{units.digits(found.low)} to {units.digits(found.high)}]" if record.knee.confirmed else ""
        lines.append(
            f"knee {units.rate(found.qps)}{bounds}{more} at p99 ≤ {limit}; "
            + (f"confirmed at {units.rate(found.sustained_qps)}" if record.knee.confirmed else "not confirmed")
        )
    if reading.unfinished:
        lines.append("the search for the knee did not come to its end")
    if reading.beyond_knee:
        fastest = units.rate(max(each.offered_qps for each in reading.beyond_knee))
        lines.append(f"unsteady: {fastest} met the objective at another moment; repeat this on a quieter machine")
    if trial is not None:
        lines.append(
            f"at {units.rate(trial.offered_qps)} offered: {units.rate(trial.achieved_qps)} answered, "
            f"p50 {units.seconds(trial.response_s(0.5))}, p99 {units.seconds(trial.response_s(0.99))} "
            f"({'; '.join(reading.missed) or 'objective met'})"
        )
        if reading.seen_before:
            lines.append(reading.seen_before)
        if trial.recall is not None:
            r = trial.recall
            lines.append(f"{measure_in_words(r)} {r.mean:.4f} [{r.low:.4f} to {r.high:.4f}] over {r.queries} queries")
    per_joule = reading.per_joule
    if per_joule.evidence == "measured":
        lines.append(f"{units.digits(per_joule.mid)} queries a joule ({per_joule.domain}, measured)")
    elif per_joule.evidence == "modelled":
        lines.append(
            f"{units.digits(per_joule.low)} to {units.digits(per_joule.high)} queries a joule (modelled, not measured)"
        )
    else:
        lines.append(f"queries a joule: none ({per_joule.how})")
    if shards := shards_in_words(record.served):
        per_cpu = per_cpu_second(reading)
        known = f"{units.digits(per_cpu)} queries a CPU second of all that answers" if per_cpu else record.elsewhere
        lines.append(f"{shards}: {known}" if known else shards)
    if reading.per_dollar is not None and record.price is not None and not reading.unconfirmed:
        lines.append(f"{units.digits(reading.per_dollar)} queries a dollar ({record.price.stated()})")
        if stale := record.price.stale_on(record.created_at):
            lines.append(f"check the dollars, {stale}")
    if (bill := encoder_bill(reading)) is not None:
        parts = [f"{units.digits(bill.tokens)} tokens a query"]
        parts += [] if bill.usd is None else [f"{units.dollars(bill.usd)} a million queries"]
        parts += [] if bill.joules is None else [f"{units.joules(bill.joules / 1e6)} a query"]
        lines.append(f"the encoder elsewhere, besides: {', '.join(parts)} (priced by the user)")
    return lines
