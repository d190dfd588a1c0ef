"""What a build is asked for, checked."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from index.build import graph
from index.build.drafts import drafting
from index.build.queries import FitQueries
from index.build.rows.sparse import SparseModel
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
    sparse: SparseModel | None = None
    parts: Path | None = None  # where others may do some of a graph


def metric_of(given: str) -> Metric:
    metric: Metric = _one_of(given, get_args(Metric), "a metric")
    return metric


def builder_of(given: str, metric: Metric) -> graph.Builder:
    """Of "auto" ours, but for inner products FAISS's, whose graph then finds more (index/kernels/MEASURED.md)."""
    if given == "auto":
        return "faiss" if metric == "ip" else "own"
    builder: graph.Builder = _one_of(given, ("auto", *graph.BUILDERS), "a builder")
    return builder


def parts_of(given: Path | str | None, builder: graph.Builder) -> Path | None:
    if given is not None and builder not in drafting.SETTINGS:
        raise InputError(
            f"parts of a graph can be shared where the builder is {' or '.join(drafting.SETTINGS)}, and it is {builder}"
        )
    return None if given is None else Path(given)


def originals_of(given: str) -> Originals:
    originals: Originals = _one_of(given, get_args(Originals), "what can become of originals")
    return originals


def _one_of(given: str, names: Sequence[str], what: str) -> Any:
    if given not in names:
        raise InputError(f"{given!r} is not {what}; expected {', '.join(names)}")
    return given


def share_of(given: float, what: str) -> float:
    if not 0.0 <= given <= 1.0:
        raise InputError(f"{what} is {given}; expected 0 to 1")
    return float(given)
