"""The conditions of a run, as tables: machines, what was served, what was asked, and how the generator fared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from loadtest import units
from loadtest.analysis.engines import effort_in_words, engine_in_words, settings_in_words
from loadtest.analysis.reading import Reading
from loadtest.machine import hidden_in_words, in_words
from loadtest.record.histogram import Histogram
from loadtest.record.run_record import Record, ServiceFacts
from loadtest.record.trial import Trial
from loadtest.report.page import Chart, Section, Table
from loadtest.report.sections.shards_section import shards_in_words


def machine_section(runs: Sequence[Reading]) -> Section:
    """Machines under test beside each other."""
    tables: list[Table | Chart | str] = []
    sides = [(run.arm, in_words(run.record.server)) for run in runs if run.record.server is not None]
    if sides:
        facts = zip(*(words for _, words in sides), strict=True)
        rows = [[fact[0][0], *(value for _, value in fact)] for fact in facts]
        tables.append(Table(["", *(arm for arm, _ in sides)], rows))
    first = runs[0].record
    lead = ""
    if first.shared:
        lead = (
            "The load was generated on the machine under test: what it used is not in the service's CPU, but "
            "in any joules."
        )
    elif not sides:
        lead = (
            "Nothing was measured, so there is no machine."
            if first.label.simulated
            else "The machine under test was not described (--server-facts)."
        )
    return Section("Machine", lead, tables)


def served_table(record: Record) -> Table | None:
    if record.served is None or record.asked is None:
        return None
    served, asked = record.served, record.asked
    trial = next((t for t in record.trials if t.server is not None and t.server.sampled), None)
    foreign = served.engine not in (None, "perwatt")
    rows = [
        ["Engine", engine_in_words(served)],
        ["Index", served.index if foreign else f"{served.index}, generation {served.generation or 'not told'}"],
        *(_foreign_rows(served) if foreign else _own_rows(served)),
        *([["Shards", words]] if (words := shards_in_words(served)) else []),
        ["Asked", f"{units.count(asked.queries)} distinct {asked.kind} queries, k = {asked.k}, {asked.popularity}"],
        ["Filters", ", ".join(f"{f['share']:.0%} {f['filter']}" for f in asked.filters) or "none"],
        ["Workload", asked.fingerprint[:23] + "…"],
    ]
    if trial is not None:
        rows.append(["Effort", effort_in_words(record, trial) if trial.effort is not None else "the index's default"])
    if asked.truth:
        rows.append(["Answers held against", asked.truth])
    return Table(["", "This run"], rows)


def _own_rows(served: ServiceFacts) -> list[list[str]]:
    return [
        ["Vectors", f"{units.count(served.count)} × {served.dim}, {served.metric}" if served.count else "not told"],
        ["Model", served.model or "none or not told"],
        ["Kernels", kernels_in_words(served.kernels)],
    ]


def _foreign_rows(served: ServiceFacts) -> list[list[str]]:
    return [
        ["Documents", units.count(served.count) if served.count is not None else "not told"],
        ["Index settings", settings_in_words(served.settings)],
    ]


def kernels_in_words(kernels: Any) -> str:
    """What a service tells of its kernels: {"isa": …, "arch": …}, or anything else as it stands."""
    if isinstance(kernels, dict) and "isa" in kernels:
        return (
            f"{kernels['isa']} ({kernels.get('arch', 'architecture not told')}){hidden_in_words(kernels.get('hidden'))}"
        )
    return str(kernels) if kernels else "not told"


def health_table(trial: Trial) -> Table:
    """The checks of one trial."""
    words = {True: "passed", False: "FAILED", None: "not checked"}
    return Table(
        ["Check", "Result", "Found", "Limit"],
        [[check.name, words[check.ok], check.found, check.limit] for check in trial.gates],
    )


def generators_table(trial: Trial) -> Table | None:
    """How each of several generators fared; None of one alone."""
    facts = trial.generator
    if not facts.each:
        return None
    rows = [
        [
            one.name,
            units.count(one.planned),
            units.count(one.missed),
            units.seconds(Histogram.decode(one.lag).quantile_s(0.99)),
            units.seconds(Histogram.decode(one.stall).quantile_s(0.99)),
            units.percent(max(cpu), 2) if cpu else "–",
            f"± {units.milliseconds(one.apart_ms)}" if one.apart_ms else "the master's",
        ]
        for one, cpu in zip(facts.each, facts.cpu, strict=True)
    ]
    columns = ["Generator", "Had to send", "Not on time", "Late, p99", "Stalls, p99", "Busiest second", "Its clock"]
    return Table(columns, rows, note="; ".join(facts.lost))


def trial_tables(record: Record) -> list[Table]:
    """What was confirmed and the curve; the search that led there folded away."""
    search = [t for t in record.trials if t.role == "search"]
    rest = [t for t in record.trials if t.role not in ("search", "idle", "voided")]
    tables = [_trials(record, rest)] if rest else []
    if search:
        tables.append(_trials(record, search, f"The {len(search)} trials of the search"))
    voided = sum(t.role == "voided" for t in record.trials)
    if voided and tables:
        words = "trial was" if voided == 1 else "trials were"
        tables[-1] = msgspec.structs.replace(
            tables[-1], note=f"{voided} {words} voided and made again: the generator stumbled, or other programs ran."
        )
    return tables


def _trials(record: Record, trials: Sequence[Trial], folded: str = "") -> Table:
    cache = any(trial.cached_share is not None for trial in trials)
    rows = [
        [
            trial.role,
            units.digits(trial.offered_qps, 4),
            units.digits(trial.achieved_qps, 4),
            units.seconds(trial.response_s(0.5)),
            units.seconds(trial.response_s(0.99)),
            units.count(trial.shed + trial.missed),
            units.percent(trial.error_rate),
            *(["–" if trial.cached_share is None else units.percent(trial.cached_share)] if cache else []),
            "; ".join(record.objective.misses(trial, strict=trial.role == "confirm")) or "met",
        ]
        for trial in trials
    ]
    shares = ["From the cache"] if cache else []
    columns = ["Trial", "Offered/s", "Answered/s", "p50", "p99", "Not sent", "Errors", *shares, "Objective"]
    return Table(columns, rows, folded=folded)
