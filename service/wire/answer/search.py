"""A search answered: hits and what they cost, of one query, of one over several indexes, and of a batch.

Hits are objects, best first; a higher score is better for every metric. A payload is `Any`: in the service it is `Raw`,
bytes of the generation's file that are spliced in unread (they were checked to be a JSON object when it was built); in
the client it is the dictionary that was decoded from them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Generic, Literal, TypeVar

from msgspec import UNSET, Struct, UnsetType

ResultT = TypeVar("ResultT")
QueryEncoder = Literal["model", "fitted"]


class Scores(Struct, frozen=True, gc=False, omit_defaults=True):
    """The scores that a hit of a hybrid search has in each ranking, where it is in it."""

    dense: float | None = None
    lexical: float | None = None
    sparse: float | None = None


class RankPlace(Struct, frozen=True, gc=False, omit_defaults=True):
    """Of a hit in one ranking. rank: from 1; of groups, where hits are grouped and not fused. adds: what the ranking
    adds to a fused score."""

    rank: int
    score: float
    adds: float | None = None


class Explanation(Struct, frozen=True, gc=False, omit_defaults=True):
    """In which rankings a hit is, and where. fused_by: score, or rank for all hits of a fusion by ranks and for those
    behind the best `depth`, whose scores are what the rankings add, less 1."""

    dense: RankPlace | None = None
    lexical: RankPlace | None = None
    fused_by: Literal["score", "rank"] | None = None
    sparse: RankPlace | None = None


class Hit(Struct, frozen=True, gc=False, omit_defaults=True):
    """score: cosine, inner product or minus the squared distance; BM25 in mode lexical; the sum of the
    products of weights in mode sparse; the fused score in mode hybrid,
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
    answered: behind a router, how many shards there are, and how many of them this answer is from. codes: vectors were
    compared as their codes restore them, also where exact is true: the index was built without its originals.
    unweighed: of the survivors, those that were written since the build without their sparse model at hand, so that
    they have no weights: they are in no ranking by sparse weights before the next build."""

    survivors: int
    exact: bool
    partial: bool
    shards: int | None = None
    answered: int | None = None
    codes: bool = False
    unweighed: int = 0


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
