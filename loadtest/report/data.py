"""The report as JSON for other programs: numbers unrounded, evidence class beside each, no charts."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import msgspec

from loadtest.analysis.compare import Comparison
from loadtest.analysis.costs.encoder_bill import encoder_bill
from loadtest.analysis.decision import Decision
from loadtest.analysis.reading import Reading
from loadtest.analysis.sharding import per_cpu_second
from loadtest.report.summary import run_lines

FORMAT = "perwatt-report/1"


def run_data(reading: Reading) -> dict[str, Any]:
    """The figures of one run; `capacity` and the rest are null when the run is invalid."""
    record, trial = reading.record, reading.trial
    valid = not reading.invalid
    return {
        "run": reading.id,
        "arm": record.label.arm,
        "block": record.label.block,
        "simulated": record.label.simulated,
        "valid": valid,
        "invalid_because": reading.invalid,
        "capacity_qps": msgspec.to_builtins(reading.capacity),
        "cached_share": trial.cached_share if trial and valid else None,
        "popularity": record.asked.popularity if record.asked else None,
        "p99_ms": trial.response_s(0.99) * 1e3 if trial and valid else None,
        "recall": msgspec.to_builtins(trial.recall) if trial and valid else None,
        "queries_per_joule": msgspec.to_builtins(reading.per_joule) if valid else None,
        "queries_per_joule_over_curve": reading.per_joule_over_curve if valid else None,
        "queries_per_dollar": reading.per_dollar,
        "queries_per_cpu_second": per_cpu_second(reading) if valid else None,
        "shards": record.served.shards if record.served else None,
        "replicas": record.served.replicas if record.served else None,
        "price": msgspec.to_builtins(record.price),
        "encoder_elsewhere": bill._asdict() if (bill := encoder_bill(reading)) else None,
        "lines": run_lines(reading),
    }


def comparison_data(comparison: Comparison) -> dict[str, Any]:
    """The verdicts and ratios; the status is the exit status of `perwatt compare`."""
    whole: dict[str, Any] = msgspec.to_builtins(comparison, str_keys=True)
    whole["verdict"] = comparison.verdict.value
    whole["decided_on"] = comparison.headline
    whole["exit_status"] = comparison.verdict.exit_status
    return whole


def report_json(runs: Sequence[Reading], comparison: Comparison | None, decision: Decision | None = None) -> str:
    data = {
        "format": FORMAT,
        "comparison": comparison_data(comparison) if comparison else None,
        "decision": msgspec.to_builtins(decision, str_keys=True) if decision else None,
        "runs": [run_data(run) for run in runs],
    }
    return json.dumps(_finite(data), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _finite(value: Any) -> Any:
    """JSON has no infinity: unknown and unbounded become null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return value
