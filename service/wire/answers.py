"""What comes back, as structs: the service encodes them, the client decodes them, and msgspec makes their schema.

Hits are objects, best first; a higher score is better for every metric. A payload is `Any`: in the service it is `Raw`,
bytes of the generation's file that are spliced in unread (they were checked to be a JSON object when it was built); in
the client it is the dictionary that was decoded from them.

This module imports msgspec and nothing else, because the client may need no more. A client ignores a field that it
does not know; a field that is added later gets a default, so that a newer client can read an older service.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Generic, Literal, TypeVar

import msgspec
from msgspec import UNSET, Struct, UnsetType

ResultT = TypeVar("ResultT")
QueryEncoder = Literal["model", "fitted"]


class Scores(Struct, frozen=True, gc=False, omit_defaults=True):
    """The scores that a hit of a hybrid search has in either ranking, where it is in it."""

    dense: float | None = None
    lexical: float | None = None


class RankPlace(Struct, frozen=True, gc=False, omit_defaults=True):
    """Of a hit in one ranking. rank: from 1; of groups, where hits are grouped and not fused. adds: what the ranking
    adds to a fused score."""

    rank: int
    score: float
    adds: float | None = None


class Explanation(Struct, frozen=True, gc=False, omit_defaults=True):
    """In which rankings a hit is, and where. fused_by: score, or rank for all hits of a fusion by ranks and for those
    behind the best `depth`, whose scores are what both rankings add, less 1."""

    dense: RankPlace | None = None
    lexical: RankPlace | None = None
    fused_by: Literal["score", "rank"] | None = None


class Hit(Struct, frozen=True, gc=False, omit_defaults=True):
    """score: cosine, inner product or minus the squared distance; BM25 in mode lexical; the fused score in mode hybrid,
    where scores has what it was made from; the reranker's where one was asked for. highlights: by field, fragments of
    its text, each in pieces of which every second one is marked, so the first may be empty."""

    id: str
    score: float
    payload: Any
    scores: Scores | None = None
    explain: Explanation | None = None
    highlights: dict[str, list[list[str]]] | None = None


class Coverage(Struct, frozen=True, gc=False, omit_defaults=True):
    """survivors: documents that could have been hits. exact: all of them were compared. partial: of the last
    page there is, that further hits may exist which paging does not lead to (`/version` has its limits). shards,
    answered: behind a router, how many shards there are, and how many of them this answer is from."""

    survivors: int
    exact: bool
    partial: bool
    shards: int | None = None
    answered: int | None = None


class Usage(Struct, frozen=True, gc=False):
    """tokens of the query text. vectors_scored: distances computed. cpu_ms: processor time of this
    query alone; of a text that was encoded together with others, its share by tokens. cached: query texts that were
    not encoded, because their vector was kept from the last time: 0 or 1, in a batch their number. encoder: what
    made the vector of a text, the model or the generation's fitted encoder; not in the sum of a batch. reranked: hits
    that a reranker read, rerank_tokens: what that was in tokens."""

    tokens: int
    vectors_scored: int
    cpu_ms: float
    cached: int = 0
    encoder: QueryEncoder | UnsetType = UNSET
    reranked: int | UnsetType = UNSET
    rerank_tokens: int | UnsetType = UNSET


def sum_of(usages: Sequence[Usage]) -> Usage:
    """Of several queries."""
    judged = [usage for usage in usages if isinstance(usage.reranked, int)]
    return Usage(
        sum(usage.tokens for usage in usages),
        sum(usage.vectors_scored for usage in usages),
        round(sum(usage.cpu_ms for usage in usages), 4),
        sum(usage.cached for usage in usages),
        reranked=sum(whole(usage.reranked) for usage in judged) if judged else UNSET,
        rerank_tokens=sum(whole(usage.rerank_tokens) for usage in judged) if judged else UNSET,
    )


def whole(number: int | UnsetType) -> int:
    return number if isinstance(number, int) else 0


class SearchAnswer(Struct, frozen=True, gc=False, omit_defaults=True):
    """model: fingerprint of the vectors searched, null where none is known. took_ms: from body read
    to answer. next_cursor: of the next page, when pages were asked for and there are hits left. seq: of
    an index that was written to, the last write that was searched."""

    index: str
    generation: str
    model: str | None
    hits: list[Hit]
    coverage: Coverage
    usage: Usage
    took_ms: float
    next_cursor: str | None = None
    seq: int = 0


class IndexedHit(Struct, frozen=True, gc=False, omit_defaults=True):
    """As Hit, of one of several indexes; the score is the one it has there."""

    index: str
    id: str
    score: float
    payload: Any
    scores: Scores | None = None
    explain: Explanation | None = None
    highlights: dict[str, list[list[str]]] | None = None


class SearchedIndex(Struct, frozen=True, omit_defaults=True):
    """One of several indexes that were searched; as in SearchAnswer."""

    index: str
    generation: str
    model: str | None
    coverage: Coverage
    seq: int = 0


class SeveralAnswer(Struct, frozen=True):
    """merged: by what the hits of the indexes were put in order, their scores or their ranks. indexes: in the order of
    the request. usage: of all searches."""

    hits: list[IndexedHit]
    merged: Literal["score", "rank"]
    indexes: list[SearchedIndex]
    usage: Usage
    took_ms: float


class BatchResult(Struct, frozen=True, gc=False, omit_defaults=True):
    hits: list[Hit]
    coverage: Coverage
    usage: Usage
    next_cursor: str | None = None


class BatchFailure(Struct, frozen=True):
    error: dict[str, Any]


class BatchItem(Struct, frozen=True):
    """A BatchResult or a BatchFailure as it is read: msgspec writes a union of the two and cannot read it."""

    hits: list[Hit] = []
    coverage: Coverage | None = None
    usage: Usage | None = None
    next_cursor: str | None = None
    error: dict[str, Any] | None = None


class BatchAnswer(Struct, Generic[ResultT], frozen=True, omit_defaults=True):
    """One result or one problem object a query, in the order of the queries; usage is their sum."""

    index: str
    generation: str
    model: str | None
    results: list[ResultT]
    usage: Usage
    took_ms: float
    seq: int = 0


class Recall(Struct, frozen=True):
    """Measured when the generation was built, at its default effort, with the 95 % interval."""

    k: int
    value: float
    low: float
    high: float
    queries: int


class RecallAnswer(Struct, frozen=True):
    """Recall@k of the generation that answers now against an exact search, with the 95 % interval. queries: how many;
    method: where they came from. ann_ms, exact_ms: of one query, the mean."""

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


class FacetValue(Struct, frozen=True):
    value: str | bool | int | float
    count: int


class CountedRange(Struct, frozen=True, omit_defaults=True):
    """Its bounds are those of a condition of a filter, which keeps as many."""

    count: int
    gt: int | float | str | None = None
    gte: int | float | str | None = None
    lt: int | float | str | None = None
    lte: int | float | str | None = None


class FacetCounts(Struct, frozen=True, omit_defaults=True):
    """count: documents that were looked at. present: of them, those that have a value. distinct: how many values there
    are. values: the most frequent ones, ties in their own order. ranges: in the order of the request, or ascending."""

    field: str
    type: str
    count: int
    present: int
    distinct: int | None = None
    values: list[FacetValue] | None = None
    ranges: list[CountedRange] | None = None


class FacetsAnswer(Struct, frozen=True, omit_defaults=True):
    """facets: in the order of the request. count: documents that the request's filter keeps, or the best k of them."""

    index: str
    generation: str
    count: int
    facets: list[FacetCounts]
    usage: Usage
    took_ms: float
    seq: int = 0


class Bytes(Struct, frozen=True):
    """files: all of the generation on disk. memory: needed to serve it."""

    files: int
    memory: int


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
        id_type: what ids are, which decides how they are sorted: str or int64.
        shard: which one of a sharded index this is; null for one in one piece, and for all shards together.
        folder: stands for the one that it lies in: servers of one folder share its log of writes.
        search: what a search is that says neither mode nor params; null: by meaning, with the default effort.
        beside: generations that answer those who name them: prepared for a switch, or left a moment ago.
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
    id_type: str = "str"
    shard: ShardPlace | None = None
    folder: str | None = None
    search: SearchByDefault | None = None
    beside: list[str] = []


class IndexList(Struct, frozen=True):
    indexes: list[IndexInfo]


class DocumentAnswer(Struct, frozen=True):
    index: str
    generation: str
    id: str
    payload: Any


class WriteFailure(Struct, frozen=True):
    """place: in the request's list. error: the problem of that document."""

    place: int
    id: str | None
    error: dict[str, Any]


class PutAnswer(Struct, frozen=True, omit_defaults=True):
    """seq: of the last document written, for the min_seq of a search; all of them are on the disk. failed: documents
    that were not written, and why."""

    index: str
    seq: int
    written: int
    took_ms: float
    failed: list[WriteFailure] = []


class DeleteAnswer(Struct, frozen=True):
    """deleted: documents that were there; with dry_run, those that would be."""

    index: str
    seq: int
    deleted: int
    dry_run: bool
    took_ms: float


class Embedding(Struct, frozen=True):
    """embedding: numbers, or with encoding_format base64 the base64 of little-endian float32
    bytes."""

    index: int
    embedding: list[float] | str
    object: str = "embedding"


class EmbeddingsUsage(Struct, frozen=True, omit_defaults=True):
    """cached, which OpenAI does not have: inputs of type query that were not encoded, because their vectors were kept
    from the last time; absent where it is 0."""

    prompt_tokens: int
    total_tokens: int
    cached: int = 0


class EmbeddingsAnswer(Struct, frozen=True):
    data: list[Embedding]
    model: str
    usage: EmbeddingsUsage
    object: str = "list"


class KeyUsage(Struct, frozen=True, omit_defaults=True):
    """What the callers with one key used since the service started.

    Args:
        key: its name; "(no key)", "(former keys)" and "(service)" are what no key there is has used.
        queries: answered, those of a batch each.
        tokens: of texts, encoded or seen before.
        vectors_scored: distances computed.
        cpu_s: processor time of encode, search and payload; of "(service)" all else that its processes did.
        share: of the processor time of all keys' queries, to divide a bill by; for those who see all keys.
        joules: joules_low and joules_high are there too where they are modelled.
    """

    key: str
    queries: int
    tokens: int
    vectors_scored: int
    cpu_s: float
    share: float | None = None
    joules: float | None = None
    joules_low: float | None = None
    joules_high: float | None = None
    dollars: float | None = None


class UsageAnswer(Struct, frozen=True, omit_defaults=True):
    """
    Args:
        since: when the service started, and with it all these numbers.
        energy: what the joules are: measured, modelled or unknown.
        energy_of: how they were measured or modelled, or why they are unknown.
        usd_per_cpu_hour: the price that dollars were counted with.
        keys: those that have used anything, the dearest first; a key that is not for all sees its own.
        whole: all of them together, counted apart from the keys; for those who see all.
    """

    since: str
    energy: Literal["measured", "modelled", "unknown"]
    energy_of: str
    keys: list[KeyUsage]
    usd_per_cpu_hour: float | None = None
    whole: KeyUsage | None = None


_encode = msgspec.json.Encoder().encode


RebuildState = Literal["running", "cancelling", "succeeded", "failed", "cancelled"]


class RebuildAnswer(Struct, frozen=True):
    """
    Args:
        step: what it is doing: embed, build, check, or what it did last.
        progress: how far that is, in words for people.
        generation: what it built.
        switched: whether that is served.
        detail: why it failed.
    """

    id: str
    index: str
    source: str
    state: RebuildState
    requested_at: str
    step: str = "start"
    progress: str | None = None
    ended_at: str | None = None
    generation: str | None = None
    switched: bool = False
    detail: str | None = None


class RebuildList(Struct, frozen=True):
    """The newest first."""

    rebuilds: list[RebuildAnswer]


def encode(answer: Any) -> bytes:
    return _encode(answer)
