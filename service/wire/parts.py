"""What a router asks of a shard, and what the shard answers: rankings and documents, and no hits yet.

A hit is made where all shards meet. Lists are merged first, each for itself, and only then fused, grouped and cut into
pages; a shard that did any of it alone would leave out rows that the whole has.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Raw, Struct

from service.wire import limits
from service.wire.request.facets import Facet
from service.wire.request.fields import Fields, Name, Seq, Text, TimeoutMs
from service.wire.request.search import Highlight

Id = Annotated[str, Meta(min_length=1, max_length=limits.ID_CHARACTERS)]

Integer = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]


class Without(Struct, forbid_unknown_fields=True, frozen=True, omit_defaults=True):
    """Documents that are left out: those of which a field has one of the values, and single ones."""

    field: Name
    values: Annotated[list[str | Integer], Meta(max_length=limits.PART_ROWS)] = []
    ids: Annotated[list[Id], Meta(max_length=limits.PART_ROWS)] = []


class PartRequest(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """Any of five questions: the k nearest of `queries` vectors (vectors, base64 of little-endian float32), the k best
    by the words of a text, those by the sparse weights of one, documents by their ids, and what a facet counts, among
    the documents that are named or those that the filters keep.

    filters: all of them hold. payloads: how many of the first rows of each list come with theirs, fields: of which only
    these. vectors_of: whether documents come with their vectors. value: a declared field whose value each row comes
    with, for groups. held: words that no generation holds, by how many changes of all shards each is held. sample: so
    many vectors of documents drawn at random come too. highlight: documents come with the words of this text marked.
    current: every write that was acknowledged before is searched."""

    k: Annotated[int, Meta(ge=1, le=limits.PART_ROWS)] = 10
    queries: Annotated[int, Meta(ge=1, le=limits.BATCH_QUERIES)] = 1
    vectors: str | None = None
    text: Text | None = None
    held: dict[str, Annotated[int, Meta(ge=1, le=limits.SEQ)]] | None = None
    documents: Annotated[list[Id], Meta(max_length=limits.PART_ROWS)] | None = None
    filters: Annotated[list[Raw], Meta(max_length=2)] = []
    without: Without | None = None
    payloads: Annotated[int, Meta(ge=0, le=limits.PART_ROWS)] = 0
    fields: Fields | None = None
    vectors_of: bool = False
    value: Name | None = None
    words: Text | None = None
    highlight: Highlight | None = None
    facet: Facet | None = None
    sample: Annotated[int, Meta(ge=0, le=limits.RECALL_QUERIES)] = 0
    effort: Annotated[int, Meta(ge=1, le=limits.EFFORT)] | Literal["target"] | None = None
    exact: bool = False
    min_seq: Seq | None = None
    current: bool = False
    timeout_ms: TimeoutMs | None = None
    sparse: Text | None = None


class PartList(Struct, frozen=True, gc=False, omit_defaults=True):
    """Best first, ties by id. values: of the field that was asked for. payloads: of the first rows."""

    ids: list[str]
    scores: list[float]
    scored: int = 0
    values: list[Any] | None = None
    payloads: list[Raw] = []


class PartDocument(Struct, frozen=True, omit_defaults=True):
    """survives: whether the filters keep it. vector: base64. highlights: as a hit has them."""

    id: str
    survives: bool
    payload: Raw
    vector: str | None = None
    highlights: dict[str, list[list[str]]] | None = None


class PartCounts(Struct, frozen=True, omit_defaults=True):
    """What of a facet can be added up. count: documents that were looked at; present: of them, those that have a value.
    values: each with its documents, of which there are distinct ones; dates are microseconds since 1970. ranges:
    documents of each that was asked for. steps: low, high, whether high is left out, and documents."""

    count: int
    present: int
    values: list[tuple[Any, int]] | None = None
    distinct: int | None = None
    ranges: list[int] | None = None
    steps: list[tuple[Any, Any, bool, int]] | None = None


class PartAnswer(Struct, frozen=True, omit_defaults=True):
    """dense: a list for each vector. documents: those that there are. count: of all documents; survivors: of those that
    the filters keep. exact: all of them were compared. held: of the words of the text that only changes hold, by how
    many each is held. cpu_ms: processor time of all that was asked, lexical_ms, sparse_ms: of it, that of the words and
    of the sparse weights. unweighed: survivors that have none."""

    generation: str
    count: int
    survivors: int
    exact: bool
    cpu_ms: float
    dense: list[PartList] = []
    lexical: PartList | None = None
    documents: list[PartDocument] = []
    held: dict[str, int] = {}
    counts: PartCounts | None = None
    sample: str | None = None
    seq: int = 0
    lexical_ms: float = 0.0
    sparse: PartList | None = None
    sparse_ms: float = 0.0
    unweighed: int = 0


PART = msgspec.json.Decoder(PartRequest)
PART_ANSWER = msgspec.json.Decoder(PartAnswer)
