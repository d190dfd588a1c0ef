"""What comes back, as a caller meets it. A member that a newer server adds is ignored, one that it lacks has a
default."""

from __future__ import annotations

from typing import Any

from msgspec import Struct


class ClientHit(Struct, frozen=True):
    """score: higher is better for every metric. payload: the document's fields, or those that were asked for."""

    id: str
    score: float
    payload: dict[str, Any] = {}
    scores: dict[str, float] = {}  # of a hybrid search: in either ranking, where it is in it


class ClientCoverage(Struct, frozen=True):
    """survivors: documents that could have been hits. exact: all of them were compared. partial: of the last page,
    that further hits may exist which paging does not lead to."""

    survivors: int
    exact: bool
    partial: bool = False


class ClientUsage(Struct, frozen=True):
    """tokens of the texts; distances computed; milliseconds of processor time."""

    tokens: int
    vectors_scored: int
    cpu_ms: float


class Answer(Struct, frozen=True):
    """hits: best first, ties by id. model: fingerprint, None for an index of bare vectors."""

    index: str
    generation: str
    model: str | None
    hits: list[ClientHit]
    coverage: ClientCoverage
    usage: ClientUsage
    took_ms: float
    next_cursor: str | None = None  # of the next page, when pages were asked for with cursor ""
    seq: int = 0  # the last write that was searched


class Result(Struct, frozen=True):
    """One of a batch: its hits, or the problem object that stands in their place."""

    hits: list[ClientHit] = []
    coverage: ClientCoverage | None = None
    usage: ClientUsage | None = None
    next_cursor: str | None = None
    error: dict[str, Any] | None = None


class ClientBatchAnswer(Struct, frozen=True):
    """results: one a query, in their order."""

    index: str
    generation: str
    model: str | None
    results: list[Result]
    usage: ClientUsage
    took_ms: float


class Failure(Struct, frozen=True):
    """A document that was not written. place: in the list that was sent. error: its problem object."""

    place: int
    id: str | None
    error: dict[str, Any]


class Put(Struct, frozen=True):
    """seq: of the last document written, for the min_seq of a search."""

    index: str
    seq: int
    written: int
    failed: list[Failure] = []


class Deleted(Struct, frozen=True):
    """deleted: documents that were there; in a dry run, those that would be."""

    index: str
    seq: int
    deleted: int
    dry_run: bool = False


class ClientDocument(Struct, frozen=True):
    index: str
    generation: str
    id: str
    payload: dict[str, Any]


class Index(Struct, frozen=True):
    """etag: of the alias, for `switch(…, etag=…)`. previous: where a rollback would go."""

    alias: str
    generation: str
    previous: str | None
    etag: str | None
    count: int
    dim: int
    metric: str
    family: str
    default_effort: int | None = None
    modes: list[str] = []  # of searches that it answers
    filterable: dict[str, dict[str, Any]] = {}  # what filters may name: field to its type, and what is known of it
    recall: dict[str, Any] | None = None
    kernels: dict[str, Any] | None = None
    model: dict[str, Any] | None = None
    refused: str | None = None


class Indexes(Struct, frozen=True):
    indexes: list[Index]


class ClientRecall(Struct, frozen=True):
    """Recall@k against exact search, measured on the spot, with the 95 % interval. queries: how many; method: where
    they came from. ann_ms, exact_ms: of one query, the mean."""

    index: str
    generation: str
    k: int
    effort: int
    recall: float
    low: float
    high: float
    queries: int
    method: str
    survivors: int
    ann_ms: float
    exact_ms: float
    took_ms: float


class ClientEmbedding(Struct, frozen=True):
    index: int
    embedding: list[float]


class Embeddings(Struct, frozen=True):
    data: list[ClientEmbedding]
    model: str
