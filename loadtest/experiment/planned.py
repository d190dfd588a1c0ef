"""The plan of a load test as its options say it, and its queries as they are to be sent."""

from __future__ import annotations

from pathlib import Path

import msgspec

from loadtest.experiment.config import ExperimentConfig
from loadtest.targets.contract import Target
from loadtest.workload.filters import parse_filters, read_filters
from loadtest.workload.plan import Plan
from loadtest.workload.queries import Query


def plan_of(config: ExperimentConfig, url: str, behind: str | None, variables: dict[str, str]) -> Plan:
    """Of one second at one query a second; who makes a trial of it says how long and how much.

    Args:
        url: where requests go.
        behind: the database that a bridge at `url` stands before.
    """
    return Plan(
        url=url,
        index=config.index,
        target=config.target,
        template=str(config.template.resolve()) if config.template else None,
        variables=variables,
        behind=behind,
        queries=str(Path(config.queries).resolve()),
        queries_field=config.field,
        rate_qps=1.0,
        duration_s=1.0,
        warmup_s=config.warmup_s,
        processes=config.processes,
        bind=config.bind,
        k=config.k,
        effort=None if config.effort == "auto" else config.effort,
        mode=config.mode,
        popularity=config.popularity,
        filters=[*parse_filters(tuple(config.filters)), *read_filters(config.filters_file)],
        seed=config.seed,
        max_in_flight=config.max_in_flight,
        timeout_s=config.timeout_s,
        slo_p99_ms=config.slo_p99_ms,
        recall_target=config.recall_target,
    )


def as_vectors(queries: list[Query], share: float, target: Target) -> list[Query]:
    """Every query, or every second one where `share` is less than 1, as the vector that the service makes of its
    text."""
    chosen = [i for i, query in enumerate(queries) if query.text is not None and (share == 1 or i % 2)]
    vectors = target.embed([queries[i].text or "" for i in chosen]) if chosen else []
    queries = list(queries)
    for i, vector in zip(chosen, vectors, strict=True):
        queries[i] = msgspec.structs.replace(queries[i], text=None, vector=vector)
    return queries
