"""A search: one query, one over several indexes, or a batch; and what is wrong with one whose types are right."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from service.wire import limits
from service.wire.problems import Problem
from service.wire.request.fields import NOTHING, Fields, Likes, Mode, Name, Seq, Text, TimeoutMs, Weight


class Weights(Struct, forbid_unknown_fields=True, frozen=True):
    """Of the rankings that a hybrid search fuses; 0 leaves one out. That by sparse weights is left out unless it is
    named."""

    dense: Weight = 1.0
    lexical: Weight = 1.0
    sparse: Weight = 0.0

    def __post_init__(self) -> None:
        if not self.dense and not self.lexical and not self.sparse:
            raise ValueError("one of the weights has to be more than 0")


class SearchParams(Struct, forbid_unknown_fields=True, frozen=True):
    """effort: how hard to look, in the unit of the index family (candidates kept, lists probed);
    "target" is the least that met the recall target for rows held out of the index; None is the index's own choice,
    which is higher where questions need more. exact: compare with every vector
    instead. Of the fusion in mode hybrid: weights of the rankings; depth: rows of each whose scores count;
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

    mode: by meaning (dense), by words (lexical), by the weights that a sparse model gave documents (sparse), or fused
    (hybrid); all but the first take a text. A search that names
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
    filter: Raw = msgspec.field(default_factory=lambda: NOTHING)  # its schema is in http/api/body_schema.py
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
    groups, documents of one index, `rerank`, `expect` and `min_seq`.

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
    """Up to 256 queries, each a SearchRequest without `min_seq` that is decoded on its own so that a bad one spoils no
    other."""

    queries: Annotated[list[Raw], Meta(min_length=1, max_length=limits.BATCH_QUERIES)]
    min_seq: Seq | None = None
    timeout_ms: TimeoutMs | None = None


SEARCH = msgspec.json.Decoder(SearchRequest)
SEVERAL = msgspec.json.Decoder(SeveralRequest)
BATCH = msgspec.json.Decoder(BatchRequest)


def check_search(request: SearchRequest) -> None:
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
