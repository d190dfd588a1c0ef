"""What a caller may ask, as typed structs; the schema in /openapi.json is made from the same types.

Unknown fields are refused: a misspelt `efort` that is silently ignored costs its author an afternoon. What a type
cannot say (exactly one of three fields, a vector of the right dimension) is checked here by functions that raise the
same problems.

A vector is a JSON array of numbers, or a string with the base64 of its little-endian float32 bytes: a third of the
bytes and a twentieth of the parsing.
"""

from __future__ import annotations

import binascii
import math
from array import array
from typing import Annotated, Literal

import msgspec
import numpy as np
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from index.facets.ranges import Unit
from service.wire import limits
from service.wire.problems import NOT_BLANK, Problem

_FLOAT32 = np.dtype("<f4")
NOTHING, EMPTY = Raw(b"null"), Raw(b"{}")

Text = Annotated[str, Meta(max_length=limits.TEXT_CHARACTERS, pattern=NOT_BLANK)]
Name = Annotated[str, Meta(max_length=limits.NAME_CHARACTERS)]
Fields = Annotated[list[str], Meta(max_length=limits.FIELDS)]
Likes = Annotated[
    list[Annotated[str, Meta(max_length=limits.ID_CHARACTERS)]], Meta(min_length=1, max_length=limits.LIKES)
]
Mode = Literal["dense", "lexical", "hybrid"]
Weight = Annotated[float, Meta(ge=0, le=1000)]
Seq = Annotated[int, Meta(ge=0, le=limits.SEQ)]
TimeoutMs = Annotated[int, Meta(ge=1, le=limits.TIMEOUT_MS)]


class Weights(Struct, forbid_unknown_fields=True, frozen=True):
    """Of the two rankings that a hybrid search fuses; 0 leaves one out."""

    dense: Weight = 1.0
    lexical: Weight = 1.0

    def __post_init__(self) -> None:
        if not self.dense and not self.lexical:
            raise ValueError("one of the two weights has to be more than 0")


class SearchParams(Struct, forbid_unknown_fields=True, frozen=True):
    """effort: how hard to look, in the unit of the index family (candidates kept, lists probed);
    "target" is the least that met the recall target for rows held out of the index; None is the index's own choice,
    which is higher where questions need more. exact: compare with every vector
    instead. Of the fusion in mode hybrid: weights of the two rankings; depth: rows of each whose scores count;
    rrf_k: by ranks instead, with this constant."""

    effort: Annotated[int, Meta(ge=1, le=limits.EFFORT)] | Literal["target"] | None = None
    exact: bool = False
    weights: Weights | None = None
    rrf_k: Annotated[int, Meta(ge=1, le=limits.RRF_K)] | None = None
    depth: Annotated[int, Meta(ge=2, le=limits.K)] | None = None


class Rerank(Struct, forbid_unknown_fields=True, frozen=True):
    """The best `top` hits (50, or k where that is more) are read by the server's reranker, and the best k by its scores
    are the answer. model: its name, for who relies on it."""

    model: Name | None = None
    top: Annotated[int, Meta(ge=1, le=limits.RERANKED)] | None = None


class Expect(Struct, forbid_unknown_fields=True, frozen=True):
    """What the caller relies on; an answer from anything else is refused with 412."""

    generation: Name | None = None
    model: Name | None = None


class Highlight(Struct, forbid_unknown_fields=True, frozen=True):
    """The words of the text that these fields of a hit hold, marked. fragments: so many pieces of a field, of about so
    many characters, those with the most different words first; 0 is the whole field."""

    fields: Annotated[list[Name], Meta(min_length=1, max_length=limits.HIGHLIGHT_FIELDS)] = msgspec.field(
        default_factory=lambda: ["title", "text"]
    )
    fragments: Annotated[int, Meta(ge=0, le=limits.HIGHLIGHT_FRAGMENTS)] = 1
    characters: Annotated[int, Meta(ge=20, le=limits.HIGHLIGHT_CHARACTERS)] = 200


class SearchRequest(Struct, forbid_unknown_fields=True):
    """One query: exactly one of text, vector, id (a document to find the neighbours of) and ids (several).

    not_ids: documents that hits should be unlike. explain: each hit comes with its places in the rankings.

    mode: by meaning (dense), by words (lexical), or both fused (hybrid); the last two take a text. A search that names
    neither mode nor params is the index's default one: by meaning, where it has none. group_by: a declared field of
    which each value gives its best hit alone. cursor: "" for the first of several pages, then next_cursor as it came.
    min_seq: of a write that has to be searched too; the answer waits for it. allow_partial: behind a router, an answer
    without the shards that do not answer is better than none."""

    text: Text | None = None
    vector: list[float] | str | None = None
    id: Annotated[str, Meta(max_length=limits.ID_CHARACTERS)] | None = None
    ids: Likes | None = None
    not_ids: Likes | None = None
    k: Annotated[int, Meta(ge=1, le=limits.K)] = 10
    mode: Mode | UnsetType = UNSET
    filter: Raw = msgspec.field(default_factory=lambda: NOTHING)  # its schema is in http/schema.py
    fields: Fields | None = None
    group_by: Name | None = None
    cursor: Annotated[str, Meta(max_length=limits.CURSOR_CHARACTERS)] | None = None
    min_seq: Seq | None = None
    params: SearchParams | None = None
    rerank: Rerank | None = None
    timeout_ms: TimeoutMs | None = None
    expect: Expect | None = None
    allow_partial: bool = False
    explain: bool = False
    highlight: Highlight | None = None


class SeveralRequest(Struct, forbid_unknown_fields=True):
    """One query over several indexes, by their aliases: a text or a vector, and what else a search has but for pages,
    groups and documents of one index.

    merge: hits by their scores, which takes indexes of one model and metric, or by their ranks; without it, by scores
    where they compare."""

    indexes: Annotated[
        list[Annotated[str, Meta(min_length=1, max_length=128)]], Meta(min_length=1, max_length=limits.SEVERAL)
    ]
    text: Text | None = None
    vector: list[float] | str | None = None
    k: Annotated[int, Meta(ge=1, le=limits.K)] = 10
    mode: Mode = "dense"
    merge: Literal["score", "rank"] | None = None
    filter: Raw = msgspec.field(default_factory=lambda: NOTHING)
    fields: Fields | None = None
    params: SearchParams | None = None
    timeout_ms: TimeoutMs | None = None
    allow_partial: bool = False
    explain: bool = False
    highlight: Highlight | None = None


class BatchRequest(Struct, forbid_unknown_fields=True):
    """Up to 256 queries, each a SearchRequest that is decoded on its own so that a bad one spoils
    no other."""

    queries: Annotated[list[Raw], Meta(min_length=1, max_length=limits.BATCH_QUERIES)]
    min_seq: Seq | None = None
    timeout_ms: TimeoutMs | None = None


class FacetRange(Struct, forbid_unknown_fields=True, frozen=True, omit_defaults=True):
    """gt or gte, lt or lte, one or both, as in a filter."""

    gt: int | float | str | None = None
    gte: int | float | str | None = None
    lt: int | float | str | None = None
    lte: int | float | str | None = None


class Facet(Struct, forbid_unknown_fields=True, frozen=True):
    """What to count of one field: its most frequent values, or documents a range of numbers or dates.

    top: so many values. ranges: these. step: ranges of this width beside each other, those that have documents; a
    number, or for dates a unit. filter: instead of the request's; so the counts beside a field's own choices are not
    narrowed by what is chosen there."""

    field: Name
    top: Annotated[int, Meta(ge=1, le=limits.FACET_VALUES)] = 10
    ranges: Annotated[list[FacetRange], Meta(min_length=1, max_length=limits.FACET_RANGES)] | None = None
    step: Annotated[float, Meta(gt=0)] | Unit | None = None
    filter: Raw | UnsetType = UNSET


class FacetsRequest(Struct, forbid_unknown_fields=True):
    """Counts among the documents that a filter keeps (no filter: all); with at most one of text, vector and id, among
    the best k of those, ranked as in a search."""

    facets: Annotated[list[Facet], Meta(min_length=1, max_length=limits.FACETS)]
    filter: Raw = msgspec.field(default_factory=lambda: NOTHING)
    text: Text | None = None
    vector: list[float] | str | None = None
    id: Annotated[str, Meta(max_length=limits.ID_CHARACTERS)] | None = None
    k: Annotated[int, Meta(ge=1, le=limits.PAGED)] = 1000
    mode: Mode = "dense"
    params: SearchParams | None = None
    min_seq: Seq | None = None
    timeout_ms: TimeoutMs | None = None
    expect: Expect | None = None

    def ranked_by(self) -> SearchRequest | None:
        """The search whose best k are counted; None: whatever the filter keeps."""
        if self.text is None and self.vector is None and self.id is None:
            return None
        return SearchRequest(
            text=self.text, vector=self.vector, id=self.id, k=self.k, mode=self.mode, params=self.params
        )


class EmbeddingsRequest(Struct, forbid_unknown_fields=True):
    """OpenAI's request for embeddings; user is ignored. Ours are input_type, for models that encode queries and
    documents differently, and timeout_ms, for all the texts; without it, each 16 of them have the server's."""

    input: Text | Annotated[list[Text], Meta(min_length=1, max_length=limits.EMBEDDINGS_INPUTS)]
    model: Name | None = None
    encoding_format: Literal["float", "base64"] | None = "float"
    dimensions: int | None = None
    user: str | None = None
    input_type: Literal["query", "document"] = "document"
    timeout_ms: TimeoutMs | None = None


class TokenInput(Struct):
    """What OpenAI takes in place of texts: tokens of its own tokenizer."""

    input: Annotated[list[int | list[int]], Meta(min_length=1)]


class RecallParams(Struct, forbid_unknown_fields=True, frozen=True):
    """effort: as in a search. What is measured is a search by vectors, held against an exact one, so a search's other
    params have no meaning here."""

    effort: Annotated[int, Meta(ge=1, le=limits.EFFORT)] | Literal["target"] | None = None


class RecallRequest(Struct, forbid_unknown_fields=True):
    """How many queries to measure with, or the texts themselves; k and filter as in a search."""

    queries: Annotated[int, Meta(ge=10, le=limits.RECALL_QUERIES)] = 200
    texts: Annotated[list[Text], Meta(min_length=1, max_length=limits.BATCH_QUERIES)] | None = None
    k: Annotated[int, Meta(ge=1, le=100)] = 10
    filter: Raw = msgspec.field(default_factory=lambda: NOTHING)
    params: RecallParams | None = None
    timeout_ms: TimeoutMs | None = None


class PutDocument(Struct, forbid_unknown_fields=True):
    """payload: a JSON object as hits have it. vector: as in a search; without one the text is encoded, which is `text`,
    or else the title and text of the payload."""

    id: Annotated[str, Meta(min_length=1, max_length=limits.ID_CHARACTERS)]
    payload: Raw = msgspec.field(default_factory=lambda: EMPTY)  # its schema is in http/schema.py
    text: Text | None = None
    vector: list[float] | str | None = None


class PutRequest(Struct, forbid_unknown_fields=True):
    """Up to 1,000 documents, each decoded on its own so that a bad one spoils no other. within: a filter; a document
    that it hides, as it is or as it would be, is not written."""

    documents: Annotated[list[Raw], Meta(min_length=1, max_length=limits.WRITE_DOCUMENTS)]
    within: Raw = msgspec.field(default_factory=lambda: NOTHING)
    timeout_ms: TimeoutMs | None = None


class DeleteRequest(Struct, forbid_unknown_fields=True):
    """Documents by their ids, or by a filter; dry_run: counts them and deletes none. within: a filter; documents
    that it hides are not there."""

    ids: (
        Annotated[
            list[Annotated[str, Meta(min_length=1, max_length=limits.ID_CHARACTERS)]],
            Meta(min_length=1, max_length=limits.DELETE_DOCUMENTS),
        ]
        | None
    ) = None
    filter: Raw = msgspec.field(default_factory=lambda: NOTHING)
    within: Raw = msgspec.field(default_factory=lambda: NOTHING)
    dry_run: bool = False
    min_seq: Seq | None = None
    timeout_ms: TimeoutMs | None = None


class RebuildRequest(Struct, forbid_unknown_fields=True, frozen=True):
    """
    Args:
        source: "changes" (the served generation and what was written since), or a name of the server's configuration.
    """

    index: Annotated[str, Meta(min_length=1, max_length=128)]
    source: Annotated[str, Meta(min_length=1, max_length=128)] = "changes"


class SwitchRequest(Struct, forbid_unknown_fields=True):
    """The generation that an alias shall point to. prepare: not yet; the generation is opened and checked, answers
    those who name it, and a switch to it takes no time. What was prepared before is dropped."""

    generation: Name  # its pattern is in http/schema.py
    prepare: bool = False


SEARCH = msgspec.json.Decoder(SearchRequest)
SEVERAL = msgspec.json.Decoder(SeveralRequest)
BATCH = msgspec.json.Decoder(BatchRequest)
EMBEDDINGS = msgspec.json.Decoder(EmbeddingsRequest)
TOKEN_INPUT = msgspec.json.Decoder(TokenInput)
RECALL = msgspec.json.Decoder(RecallRequest)
REBUILD = msgspec.json.Decoder(RebuildRequest)
SWITCH = msgspec.json.Decoder(SwitchRequest)
PUT = msgspec.json.Decoder(PutRequest)
PUT_DOCUMENT = msgspec.json.Decoder(PutDocument)
FACETS = msgspec.json.Decoder(FacetsRequest)
DELETE = msgspec.json.Decoder(DeleteRequest)


def check(request: SearchRequest) -> None:
    """Raises the Problem of a request whose types are right and whose meaning is not."""
    given = sum(each is not None for each in (request.text, request.vector, request.id, request.ids))
    if given != 1:
        raise Problem(
            "invalid-value",
            f"A query is exactly one of text, vector, id and ids; this one has {given} of them.",
            pointer="",
        )
    words = request.mode not in (UNSET, "dense")
    if words and request.text is None:
        raise Problem(
            "invalid-value",
            f"mode {request.mode!r} searches by words, and so by a text; a vector or an id goes with mode 'dense'.",
            pointer="/mode",
        )
    if request.rerank is not None and (request.text is None or request.cursor is not None):
        why = "a vector and an id have none" if request.text is None else "pages come in the order of the search"
        raise Problem("invalid-value", f"A reranker reads the text of a query: {why}.", pointer="/rerank")
    if words and request.not_ids is not None:
        raise Problem(
            "invalid-value",
            f"Documents are unlike others by meaning, and mode {request.mode!r} also ranks by words; use mode 'dense'.",
            pointer="/not_ids",
        )
    if request.highlight is None:
        return
    if request.text is None:
        raise Problem("invalid-value", "Only a text has words to highlight.", pointer="/highlight")
    if request.k > limits.HIGHLIGHTED:
        raise Problem(
            "invalid-value",
            f"Words are highlighted in up to {limits.HIGHLIGHTED} hits of a request; this one asks for {request.k}.",
            pointer="/k",
        )


def id_in(document: bytes) -> str | None:
    """The id of a document that may be malformed, to name it by."""
    try:
        found = msgspec.json.decode(document)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    id_ = found.get("id") if isinstance(found, dict) else None
    return id_[: limits.NAME_CHARACTERS] if isinstance(id_, str) else None


def vector_of(given: list[float] | str, dim: int) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    """The query vector, float32 (dim,), finite; raises Problem dimension-mismatch or
    invalid-value."""
    if isinstance(given, str):
        try:
            raw = binascii.a2b_base64(given.encode("ascii"), strict_mode=True)
        except (binascii.Error, UnicodeEncodeError) as error:
            raise Problem(
                "invalid-value",
                f"vector is a string but not base64 ({error}); send the base64 of little-endian float32 bytes.",
                pointer="/vector",
            ) from None
        if len(raw) % 4:
            raise Problem(
                "invalid-value",
                f"vector decodes to {len(raw)} bytes, which is not a whole number of float32.",
                pointer="/vector",
            )
        vector = np.frombuffer(raw, dtype=_FLOAT32)
    else:
        # array('f') converts a list three times as fast as numpy, and turns what float32 cannot
        # hold into infinity
        vector = np.frombuffer(array("f", given), dtype=np.float32)
    if len(vector) != dim:
        raise Problem(
            "dimension-mismatch",
            f"The index has {dim} dimensions, the vector has {len(vector)}.",
            pointer="/vector",
            expected=dim,
            got=len(vector),
        )
    if not math.isfinite(vector.dot(vector)):  # one pass; it may also overflow, which the index refuses
        for place in np.flatnonzero(~np.isfinite(vector)).tolist():
            raise Problem(
                "invalid-value",
                f"Element {place} of the vector is not a finite float32.",
                pointer="/vector" if isinstance(given, str) else f"/vector/{place}",
            )
    return vector
