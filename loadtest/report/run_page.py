"""The report of one run: what it can say, what it cannot, and under which conditions."""

from __future__ import annotations

import math
from collections.abc import Sequence

from loadtest import units
from loadtest.analysis.engines import measure_in_words, objective_in_words
from loadtest.analysis.fleet import Demand
from loadtest.analysis.reading import Reading
from loadtest.record.run_record import Record
from loadtest.record.trial import Trial
from loadtest.report import charts
from loadtest.report.machines import generators_table, health_table, machine_section, served_table, trial_tables
from loadtest.report.page import Chart, Figure, Headline, Page, Section, Table
from loadtest.report.sections.encoder_section import encoder_section
from loadtest.report.sections.energy_section import energy_section
from loadtest.report.sections.fleet_section import fleet_section
from loadtest.report.sections.indexing_section import indexing_section, indexing_table
from loadtest.report.sections.limits_section import limits_section
from loadtest.report.sections.locust_section import locust_section
from loadtest.report.sections.shards_section import shards_in_words, shards_section

SIMULATED = "Simulated. These are queues in virtual time with a planted speed; nothing was measured."


def run_page(reading: Reading, demand: Demand | None = None) -> Page:
    """The page of one record; with `demand`, also the fleet that it would take."""
    record, trial = reading.record, reading.trial
    title = f"Load test of {record.label.arm}"
    where = record.served.index if record.served else record.kind
    shards = f" · {words}" if (words := shards_in_words(record.served)) else ""
    subtitle = f"{where}{shards} · {record.created_at} · run {reading.id}"
    banner = SIMULATED if record.label.simulated else ""
    if record.kind == "indexing":
        return _indexing_page(reading)
    if reading.invalid:
        return _invalid_page(reading, title, subtitle, banner)
    attempts = [t for t in record.trials if t.role == "confirm"]
    shown = trial or (attempts[-1] if attempts else None)  # without a confirmation, what was seen at the last attempt
    sections = [_load_section(reading), _latency_section(shown), locust_section(shown), energy_section(reading)]
    sections += [shards_section(reading), encoder_section(reading)]
    sections.append(fleet_section([[reading]], demand) if demand else None)
    sections.append(indexing_section(reading))
    sections += [_recall_section(record, shown), _health_section(record, shown)]
    sections += [machine_section([reading]), _served_section(record)]
    if not record.label.simulated:
        sections.append(limits_section(reading))
    return Page(
        title=title,
        subtitle=subtitle,
        banner=banner,
        headline=_qualified(_headline(reading), reading),
        figures=_figures(reading),
        sections=[section for section in sections if section is not None],
        foot=foot([reading]),
    )


def _headline(reading: Reading) -> Headline:
    record, found = reading.record, reading.capacity
    limit = f"p99 ≤ {units.milliseconds(record.objective.p99_ms)}"
    if quality := objective_in_words(record):
        limit += f" and {quality}"
    evidence = "simulated" if record.label.simulated else "measured"
    if reading.unfinished:
        why = record.notes[-1] if record.notes else "its record says no more"
        return Headline("Not finished", f"The search for the knee did not come to its end: {why}.", evidence, "open")
    if found is None:
        missed = reading.missed if reading.trial else ["no trial"]
        return Headline("Objective missed", f"At this rate {limit} was not met: {'; '.join(missed)}.", evidence, "bad")
    if record.knee is None:
        return Headline("Objective met", f"{units.rate(found.qps)} were answered within {limit}.", evidence, "good")
    bounds = f"{units.digits(found.low)} to {units.digits(found.high)}"
    if record.knee.confirmed:
        sentence = f"{bounds} q/s (95 % interval) is where p99 crosses the objective ({limit})."
        sentence += f" A longer trial confirmed {units.rate(found.sustained_qps)}."
    else:
        sentence = f"The search points at {units.rate(found.qps)} for {limit}, but no longer trial near it met that: "
        sentence += "the machine was too unsteady, and this is neither a promise nor an estimate with an interval."
    if record.knee.reached_limit:
        sentence += " The search stopped at the highest rate it was allowed to offer; the knee is higher."
    word = units.rate(found.qps) if record.knee.confirmed else "Not confirmed"
    if reading.beyond_knee:
        fastest = max(trial.offered_qps for trial in reading.beyond_knee)
        sentence += (
            f" But {units.rate(fastest)} were answered within the objective at another moment: the machine was not the "
            "same throughout, and this number says more of its neighbours than of it."
        )
        word = f"Unsteady: {word}"
    return Headline(word, sentence, evidence, "good" if record.knee.confirmed and not reading.beyond_knee else "open")


def _qualified(headline: Headline, reading: Reading) -> Headline:
    """With what it must not be read without: what the service's cache answered, and what other programs took."""
    word, sentence, tone = headline.word, headline.sentence, headline.tone
    if seen := reading.seen_before:
        sentence += f" {seen[0].upper()}{seen[1:]}."
    if why := reading.disturbance:
        word, sentence, tone = f"Disturbed: {word}", f"{why[0].upper()}{why[1:]}. {sentence}", "open"
    return Headline(word, sentence, headline.evidence, tone)


def _figures(reading: Reading) -> list[Figure]:
    found, trial, price = reading.capacity, reading.trial, reading.price
    out = []
    measured = "simulated" if reading.record.label.simulated else "measured"
    if reading.unconfirmed and found is not None:
        why = f"the search points at {units.rate(found.qps)}, and no longer trial confirmed a rate"
        return [
            Figure(f"Queries a {what}", "–", why, "none") for what in ("second at the objective", "dollar", "joule")
        ]
    if found is not None:
        detail = "cores not known"
        if (vcpus := reading.vcpus) and (cores := reading.cores):
            detail = f"{units.digits(found.qps / vcpus)} per vCPU · {units.digits(found.qps / cores)} per core"
        if words := shards_in_words(reading.record.served):
            detail += f" · {words}"
        if trial is not None and trial.cached_share is not None:
            detail += f" · {units.percent(trial.cached_share)} from the query cache"
        out.append(Figure("Queries a second at the objective", units.digits(found.qps), detail, measured))
    per_dollar, per_million = reading.per_dollar, reading.usd_per_million
    if per_dollar is not None and per_million is not None and price is not None:
        detail = f"{units.dollars(per_million)} a million · {price.stated()}"
        if reading.record.encoder is not None:
            detail += " · without the encoder elsewhere"
        out.append(Figure("Queries a dollar", units.digits(per_dollar), detail, measured))
    else:
        why = f"no price: {reading.no_price}" if price is None else reading.no_capacity
        out.append(Figure("Queries a dollar", "–", why, "none"))
    out.append(_joule_figure(reading))
    if trial is not None:
        p99 = units.seconds(trial.response_s(0.99))
        detail = f"p50 {units.seconds(trial.response_s(0.5))} at {units.rate(trial.offered_qps)}"
        out.append(Figure("p99 from the due time", p99, detail, measured))
        if trial.recall is not None:
            r = trial.recall
            detail = f"{r.low:.3f} to {r.high:.3f} over {r.queries} queries"
            out.append(Figure(f"{_capital(measure_in_words(r))} under load", f"{r.mean:.3f}", detail, measured))
    return out


def _joule_figure(reading: Reading) -> Figure:
    found = reading.per_joule
    if found.evidence == "none" or math.isnan(found.mid):
        return Figure("Queries a joule", "–", found.how, "none")
    if found.evidence == "measured":
        return Figure("Queries a joule", units.digits(found.mid), f"{found.domain} · {found.how}", "measured")
    value = f"{units.digits(found.low)}–{units.digits(found.high)}"
    return Figure("Queries a joule", value, f"{found.domain} · {found.how}", "modelled")


def _load_section(reading: Reading) -> Section:
    lead = (
        "Requests arrive as a Poisson process and are sent when they are due, whatever became of those before "
        "(open loop). "
        "Times count from the due time, so waiting for a slow service is part of them."
    )
    return Section("Load", lead, _present(charts.load_curve(reading), *trial_tables(reading.record)))


def _latency_section(trial: Trial | None) -> Section | None:
    if trial is None or not trial.answered:
        return None
    rows = [
        [f"p{q * 100:g}", units.seconds(trial.response_s(q)), units.seconds(trial.service_s(q))]
        for q in (0.5, 0.9, 0.99, 0.999)
    ]
    table = Table(["Percentile", "From the due time", "From the send"], rows)
    lead = (
        f"At {units.rate(trial.offered_qps)} for {units.seconds(trial.window_s)}. What was not answered "
        f"({units.count(trial.unanswered)} of {units.count(trial.planned)}) counts as slower than everything."
    )
    return Section("Latency", lead, _present(charts.percentiles(trial), table, charts.timeline(trial)))


def _recall_section(record: Record, trial: Trial | None) -> Section | None:
    if trial is None or trial.recall is None:
        if record.objective.recall is None:
            return None
        return Section("Recall", "Recall was asked for and could not be measured, so the objective is not proven.", [])
    r = trial.recall
    lead = (
        f"Answers sampled while the load ran were compared with {_truth(record)}: {measure_in_words(r)} is "
        f"{r.mean:.4f}, 95 % interval {r.low:.4f} to {r.high:.4f}, over {r.queries} distinct queries."
    )
    if trial.server is not None and trial.server.generations:
        lead += f" They came from {', '.join(trial.server.generations)}."
    return Section("Recall", lead, [])


def _truth(record: Record) -> str:
    """What the answers were held against."""
    return record.asked.truth if record.asked is not None and record.asked.truth else "exact search"


def _capital(words: str) -> str:
    return words if words.startswith("nDCG") else words[0].upper() + words[1:]


def _health_section(record: Record, trial: Trial | None) -> Section | None:
    if trial is None or not trial.gates:
        return None
    lead = (
        "Was it the service that was measured, or the generator, or other programs beside them? A failed check would "
        "have voided the run."
    )
    parts = _present(health_table(trial), generators_table(trial))
    if record.calibration is not None:
        c = record.calibration
        processes = f"{c.processes} {'process' if c.processes == 1 else 'processes'}"
        parts.append(
            f"Against a server that only answers with {units.count(c.answer_bytes)} bytes, the same generator "
            f"({processes}, {trial.generator.priority} priority) sent {units.rate(c.sustained_qps)} with p99 "
            f"{units.milliseconds(c.p99_ms)} and {units.percent(c.cpu)} of a core."
        )
    return Section("Validity", lead, parts)


def _served_section(record: Record) -> Section | None:
    table = served_table(record)
    return Section("Served and asked", "", [table]) if table else None


def invalid_because(reasons: Sequence[str]) -> str:
    """The first reason stands in the first lines of the page; the others in its table."""
    first, *more = dict.fromkeys(reasons)
    others = f" (and {len(more)} more)" if more else ""
    return f"The measurement failed its own checks, so no number is shown: {first}{others}."


def _invalid_page(reading: Reading, title: str, subtitle: str, banner: str) -> Page:
    reasons, failed = dict.fromkeys(reading.invalid), reading.record.failed
    sections = [Section("Why", " ".join(reading.remedies), [Table(["Reason"], [[reason] for reason in reasons])])]
    if failed:
        checks = _present(health_table(failed[-1]), generators_table(failed[-1]))
        sections.append(Section("Validity", "The checks of the trial that failed.", checks))
    sections.append(machine_section([reading]))
    headline = Headline("Invalid", invalid_because(reading.invalid), "none", "void")
    return Page(title, subtitle, banner, headline, [], sections, foot([reading]))


def _indexing_page(reading: Reading) -> Page:
    record = reading.record
    total = sum(step.seconds for step in record.indexing)
    cost = f" and {units.dollars(total / 3600 * record.price.usd_per_hour)}" if record.price else ""
    headline = Headline("Indexing", f"The steps took {units.seconds(total)}{cost} on this machine.", "measured", "good")
    price = f"Priced as {record.price.stated()}." if record.price else f"No price: {reading.no_price}."
    sections = [Section("Steps", price, [indexing_table(reading)]), machine_section([reading])]
    return Page(f"Indexing on {record.label.arm}", record.created_at, "", headline, [], sections, foot([reading]))


def foot(runs: Sequence[Reading]) -> list[str]:
    """Where everything on the page comes from."""
    records = [run.record for run in runs]
    lines = [f"Made from {len(records)} run record{'s' if len(records) != 1 else ''} by perwatt {records[0].perwatt}."]
    lines += dict.fromkeys(record.price.sourced(record.created_at) for record in records if record.price)
    lines += list(dict.fromkeys(note for record in records for note in record.notes))
    return lines


def _present(*parts: Table | Chart | str | None) -> list[Table | Chart | str]:
    return [part for part in parts if part is not None]
