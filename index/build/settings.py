"""What a build is asked for, checked."""

from dataclasses import dataclass
from typing import get_args

from index.build import graph
from index.build.queries import FitQueries
from index.disk.codes import Metric
from index.disk.layout import Originals
from index.errors import InputError
from index.search.fields.columns import Field
from index.shards.plan import Shard


@dataclass(frozen=True)
class BuildSettings:
    name: str
    family: str
    profile: str
    metric: Metric
    recall_target: float
    fields: list[Field]
    required: frozenset[str]  # of these fields, those that some row must have
    threads: int
    min_count_ratio: float
    max_slowdown: float | None
    show: bool
    language: str | None  # that words are stemmed in; None: no words
    anew: bool
    shard: Shard | None
    fit_queries: FitQueries | None
    builder: graph.Builder
    originals: Originals


def metric_of(given: str) -> Metric:
    if given not in get_args(Metric):
        raise InputError(f"{given!r} is not a metric; expected {', '.join(get_args(Metric))}")
    return given  # type: ignore[return-value]


def builder_of(given: str) -> graph.Builder:
    if given not in graph.BUILDERS:
        raise InputError(f"{given!r} is not a builder; expected {', '.join(graph.BUILDERS)}")
    return given  # type: ignore[return-value]


def originals_of(given: str) -> Originals:
    if given not in get_args(Originals):
        raise InputError(f"{given!r} is nothing to do with originals; expected {', '.join(get_args(Originals))}")
    return given  # type: ignore[return-value]


def share_of(given: float, what: str) -> float:
    if not 0.0 <= given <= 1.0:
        raise InputError(f"{what} is {given}; expected 0 to 1")
    return float(given)
