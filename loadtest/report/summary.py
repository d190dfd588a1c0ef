"""A few lines for the terminal, right after a run."""

from __future__ import annotations

from loadtest import units
from loadtest.analysis.reading import (
    beyond_its_knee,
    capacity,
    disturbance,
    headline_trial,
    queries_per_dollar,
    queries_per_joule,
)
from loadtest.record.run_record import Record
from loadtest.record.validity_checks import remedies


def run_lines(record: Record) -> list[str]:
    """The reading of one record in plain lines. An invalid run has reasons and no number."""
    if record.invalid:
        advice = dict.fromkeys(remedy for trial in record.failed for remedy in remedies(trial))
        return ["INVALID: no number is shown.", *(f"  {line}" for line in (*dict.fromkeys(record.invalid), *advice))]
    lines = [f"disturbed: {why}"] if (why := disturbance(record)) else []
    found = capacity(record)
    limit = units.milliseconds(record.objective.p99_ms)
    if record.knee is not None and found is not None:
        more = " or more (the highest rate allowed was met)" if record.knee.reached_limit else ""
        bounds = f" [{units.digits(found.low)} to {units.digits(found.high)}]" if record.knee.confirmed else ""
        lines.append(
            f"knee {units.rate(found.qps)}{bounds}{more} at p99 ≤ {limit}; "
            + (f"confirmed at {units.rate(found.sustained_qps)}" if record.knee.confirmed else "not confirmed")
        )
    if record.kind == "knee" and record.knee is None:
        lines.append("the search for the knee did not come to its end")
    if met := beyond_its_knee(record):
        fastest = units.rate(max(each.offered_qps for each in met))
        lines.append(f"unsteady: {fastest} met the objective at another moment; repeat this on a quieter machine")
    trial = headline_trial(record)
    if trial is not None:
        missed = record.objective.misses(trial, strict=False)
        lines.append(
            f"at {units.rate(trial.offered_qps)} offered: {units.rate(trial.achieved_qps)} answered, "
            f"p50 {units.seconds(trial.response_s(0.5))}, p99 {units.seconds(trial.response_s(0.99))} "
            f"({'; '.join(missed) if missed else 'objective met'})"
        )
        if trial.recall is not None:
            r = trial.recall
            lines.append(f"recall@{r.k} {r.mean:.4f} [{r.low:.4f} to {r.high:.4f}] over {r.queries} queries")
    per_joule = queries_per_joule(record)
    if per_joule.evidence == "measured":
        lines.append(f"{units.digits(per_joule.mid)} queries a joule ({per_joule.domain}, measured)")
    elif per_joule.evidence == "modelled":
        lines.append(
            f"{units.digits(per_joule.low)} to {units.digits(per_joule.high)} queries a joule (modelled, not measured)"
        )
    else:
        lines.append(f"queries a joule: none ({per_joule.how})")
    per_dollar = queries_per_dollar(record)
    confirmed = record.knee is None or record.knee.confirmed
    if per_dollar is not None and record.price is not None and confirmed:
        lines.append(f"{units.digits(per_dollar)} queries a dollar ({record.price.stated()})")
    return lines
