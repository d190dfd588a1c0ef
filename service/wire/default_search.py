"""The search that an index is asked by default, where a request says neither mode nor params."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Struct
from msgspec.structs import replace

from service.wire import limits
from service.wire.request.fields import Mode
from service.wire.request.search import Rerank, SearchParams, SearchRequest


class DefaultSearch(Struct, forbid_unknown_fields=True, frozen=True, omit_defaults=True):
    """
    Args:
        mode, params, rerank: as a request has them.
        generation: that it was measured on.
        query_encoder: "model" where texts go through the whole model, though a generation has a fitted encoder.
        ndcg: at k, mean of so many judged queries.
        loss: of it, against the best search that was tried.
    """

    mode: Mode
    generation: str
    params: SearchParams | None = None
    rerank: Rerank | None = None
    query_encoder: Literal["auto", "model"] = "auto"
    ndcg: float = 0.0
    loss: float = 0.0
    k: Annotated[int, Meta(ge=1, le=limits.K)] = 10
    queries: int = 0
    measured_at: str = ""

    @property
    def needs(self) -> set[str]:
        """The modes that an index must have for it."""
        weights = None if self.params is None else self.params.weights
        third = {"sparse"} if self.mode == "hybrid" and weights is not None and weights.sparse else set()
        return {self.mode} | third

    def as_dict(self) -> dict[str, Any]:
        """As JSON has it, without what says nothing."""
        fields: dict[str, Any] = msgspec.to_builtins(self)
        for name in ("params", "rerank"):
            if name in fields:
                fields[name] = {key: value for key, value in fields[name].items() if value not in (None, False)}
        return fields

    def of(self, generation: str) -> DefaultSearch:
        """What of it holds for a generation: a number of effort is of the one that it was measured on, and others
        have their own choice."""
        if self.params is None or not isinstance(self.params.effort, int) or generation == self.generation:
            return self
        params = replace(self.params, effort=None)
        return replace(self, params=None if params == SearchParams() else params)

    def asked(self, query: SearchRequest, *, reranker: bool) -> SearchRequest:
        """The query as it is searched.

        Args:
            reranker: whether the server has one.
        """
        if query.mode is not UNSET or query.params is not None:
            return settled(query)
        if query.text is None or query.not_ids is not None:  # which are not searched by words
            return replace(query, mode="dense", params=self.params if self.mode == "dense" else None)
        rerank = query.rerank
        if rerank is None and self.rerank is not None and reranker and query.cursor is None:
            rerank = self.rerank if query.k <= (self.rerank.top or query.k) else None
        return replace(query, mode=self.mode, params=self.params, rerank=rerank)


def settled(query: SearchRequest) -> SearchRequest:
    """The same query, of an index without a default: by meaning, where it does not say."""
    if query.mode is UNSET:
        query.mode = "dense"
    return query
