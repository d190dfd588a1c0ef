"""What was measured, in words: the machine, the engine with its version, its index settings, and how its answers were
judged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from loadtest.analysis.reading import Reading
from loadtest.record.run_record import Record, ServiceFacts
from loadtest.record.trial import RecallEstimate, Trial

LONGEST = 600  # letters of settings; mappings of a large index are pages long


def subject_names(baseline: Reading, candidate: Reading) -> tuple[str, str]:
    """What the two arms are to someone who did not name them: their machines where these differ, their engines where
    these do, else their releases; the arms' own names where nothing else tells them apart, or nothing was measured."""
    arms = (baseline.arm, candidate.arm)
    if baseline.record.label.simulated:
        return arms
    machines, engines = [[name(run.record) for run in (baseline, candidate)] for name in (machine_name, _engine_name)]
    parts = [each for each in (engines, machines) if each[0] != each[1] and all(each)]
    if parts:
        return tuple(" on ".join(each) for each in zip(*parts, strict=True))  # type: ignore[return-value]
    served = [run.record.served for run in (baseline, candidate)]
    releases = [engine_in_words(each) for each in served if each is not None]
    return (releases[0], releases[1]) if len(set(releases)) == 2 else arms


def arm_in_words(runs: Sequence[Reading]) -> str:
    """ "c8g.2xlarge; Chroma 1.0.0, index settings {…}; ef 40; recall@10 0.967 (0.959 to 0.975)": what was compared."""
    first, trials = runs[0].record, [run.trial for run in runs if run.trial is not None]
    machine = machine_name(first)
    parts = [f"simulated, at the price of {machine}" if first.label.simulated and machine else machine]
    if (served := first.served) is not None:
        parts.append(engine_in_words(served))
        if served.settings is not None:
            parts[-1] += f", index settings {settings_in_words(served.settings)}"
    parts.append("effort " + ", ".join(sorted({effort_in_words(first, trial) for trial in trials})) if trials else "")
    if recalls := [trial.recall for trial in trials if trial.recall is not None]:
        low, high = min(each.low for each in recalls), max(each.high for each in recalls)
        mean = sum(each.mean for each in recalls) / len(recalls)
        parts.append(f"{measure_in_words(recalls[0])} {mean:.3f} ({low:.3f} to {high:.3f})")
    return "; ".join(part for part in parts if part)


def machine_name(record: Record) -> str:
    """ "c8g.2xlarge", or the processor of a machine that no table has; empty: nothing was told."""
    if record.price is not None:
        return record.price.instance
    server = record.server
    return "" if server is None else server.instance_type or server.cpu


def _engine_name(record: Record) -> str:
    return (record.served.engine if record.served else None) or "perwatt"


def engine_in_words(served: ServiceFacts) -> str:
    """ "PostgreSQL with pgvector (postgresql 16.2, pgvector 0.6.2)", "perwatt 0.1.0"."""
    name, version = served.engine or "perwatt", served.version
    if isinstance(version, str):
        return f"{name} {version}"
    version = msgspec.to_builtins(version)
    if isinstance(version, dict) and name == "perwatt":
        return f"perwatt {version['perwatt']}" if "perwatt" in version else "perwatt"
    if isinstance(version, dict):
        told = ", ".join(f"{key} {value}" for key, value in version.items() if isinstance(value, str | int | float))
        return f"{name} ({told})" if told else name
    return f"{name}, version not told"


def settings_in_words(settings: Any) -> str:
    """As JSON, cut where it is long."""
    if settings is None:
        return "not told"
    text = msgspec.json.encode(settings).decode()
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def effort_in_words(record: Record, trial: Trial) -> str:
    """ "hnsw.ef_search 40", "default"."""
    if trial.effort is None:
        return "default"
    name = record.served.effort_name if record.served else None
    return str(trial.effort) if name in (None, "effort") else f"{name} {trial.effort}"


def measure_in_words(estimate: RecallEstimate) -> str:
    """ "recall@10", "nDCG@10", "recall of judged documents@10"."""
    name = {"ndcg": "nDCG", "judged recall": "recall of judged documents"}.get(estimate.measure, estimate.measure)
    return f"{name}@{estimate.k}"


def objective_in_words(record: Record) -> str:
    """ "recall ≥ 0.95", "nDCG ≥ 0.6"; empty: none was asked for."""
    objective = record.objective
    if objective.recall is None:
        return ""
    name = {"ndcg": "nDCG", "judged recall": "recall of judged documents"}.get(objective.measure, objective.measure)
    return f"{name} ≥ {objective.recall:g}"
