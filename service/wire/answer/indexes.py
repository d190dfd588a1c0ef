"""What an index is: its generation, model, size, fields and recall, and the search that it is asked by default."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct

from service.wire.answer.recall import Recall


class FieldValue(Struct, frozen=True):
    value: str | bool
    count: int


class FilterableField(Struct, frozen=True, omit_defaults=True):
    """present: documents that have a value. values: the most frequent ones of a keyword or bool field with their
    counts, distinct: how many there are in all. min, max: of an int, float or date field."""

    type: str
    present: int | None = None
    distinct: int | None = None
    values: list[FieldValue] | None = None
    min: int | float | str | None = None
    max: int | float | str | None = None


class Bytes(Struct, frozen=True):
    """files: all of the generation on disk. memory: needed to serve it; vector: of that, for each document."""

    files: int
    memory: int
    vector: int = 0


class Model(Struct, frozen=True):
    id: str
    name: str
    precision: str
    max_length: int


class Kernels(Struct, frozen=True):
    arch: str
    isa: str
    units: list[str]


class ShardPlace(Struct, frozen=True):
    """rule: says which shard a document belongs to."""

    number: int
    of: int
    rule: str


class SearchByDefault(Struct, frozen=True):
    """What a search is that says neither mode nor params, and what it was worth when it was measured.

    Args:
        params, rerank: as a request has them.
        query_encoder: model where texts go through the whole model, else auto.
        generation: that it was measured on.
        ndcg: at k, mean of so many judged queries; loss: of it, against the best search that was tried.
    """

    mode: str
    generation: str
    params: dict[str, Any] = {}
    rerank: dict[str, Any] | None = None
    query_encoder: str = "auto"
    ndcg: float = 0.0
    loss: float = 0.0
    k: int = 10
    queries: int = 0
    measured_at: str = ""


class IndexInfo(Struct, frozen=True):
    """
    Args:
        previous: the generation that a rollback would go to.
        etag: of the alias on disk, for If-Match.
        count: of documents, without those that the key hides.
        model: null when the vectors came without one.
        modes: of searches that it answers.
        filterable: the fields that filters may name.
        refused: why the last reload stayed with the old generation, or null.
        written_since: of count, those that were put since it was built; 0 for a key that hides some.
        unweighed: of written_since, those without sparse weights, where the index has them; the next build gives them.
        id_type: what ids are, which decides how they are sorted: str or int64.
        shard: which one of a sharded index this is; null for one in one piece, and for all shards together.
        folder: stands for the one that it lies in: servers of one folder share its log of writes.
        search: what a search is that says neither mode nor params; null: by meaning, with the default effort.
        beside: generations that answer those who name them: prepared for a switch, or left a moment ago.
        replicas: behind a router, how many servers each shard has, in the order of the shards; null elsewhere.
        originals: drop where vectors are compared, and given out, as their codes restore them, since it was built so;
            behind a router, where that is so of any shard.
    """

    alias: str
    generation: str
    previous: str | None
    etag: str | None
    count: int
    dim: int
    metric: str
    family: str
    default_effort: int
    target_effort: int
    model: Model | None
    recall: Recall | None
    modes: list[str]
    filterable: dict[str, FilterableField]
    bytes: Bytes
    kernels: Kernels
    built_at: str
    refused: str | None
    written_since: int = 0
    unweighed: int = 0
    id_type: str = "str"
    shard: ShardPlace | None = None
    folder: str | None = None
    search: SearchByDefault | None = None
    beside: list[str] = []
    replicas: list[int] | None = None
    originals: Literal["keep", "drop"] = "keep"


class IndexList(Struct, frozen=True):
    indexes: list[IndexInfo]
