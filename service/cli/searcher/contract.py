"""What is asked of either way to search, and how."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

import msgspec
import numpy as np
import numpy.typing as npt

from service.cli.evaluate import Search
from service.client import calls
from service.errors import ServiceError
from service.wire import filters, limits
from service.wire.answer.search import Hit
from service.wire.problems import Problem
from service.wire.request.search import SEARCH, check_search

if TYPE_CHECKING:
    from index.search.finding import Effort

Query = str | npt.NDArray[np.float32]  # a text, or a vector float32 (dim,)

Mode = Literal["dense", "lexical", "sparse", "hybrid"]
MODES: tuple[Mode, ...] = ("dense", "lexical", "sparse", "hybrid")
BATCH = 64  # queries a request


class SearchOptions(NamedTuple):
    """
    Args:
        effort: None is the index's own choice.
        filter: as in a request, None for none.
    """

    k: int
    effort: Effort | None = None
    exact: bool = False
    mode: Mode = "dense"
    weights: tuple[float, float] = (1.0, 1.0)  # of dense and lexical in a hybrid search
    rrf_k: int | None = None  # by rank, with this constant
    depth: int | None = None  # rows of each ranking whose scores count
    filter: dict[str, Any] | None = None
    rerank: int | None = None  # of the best hits, how many a reranker reads
    sparse: float = 0.0  # what the ranking by sparse weights weighs in a hybrid search

    def weighed(self, weights: tuple[float, float, float]) -> SearchOptions:
        """The same with these weights of dense, lexical and sparse."""
        return self._replace(weights=weights[:2], sparse=weights[2])

    def request(self, query: Query) -> dict[str, Any]:
        """The body of a search, as the API takes it."""
        params: dict[str, Any] = {"effort": self.effort, "exact": self.exact}
        if self.mode == "hybrid":
            params["weights"] = {"dense": self.weights[0], "lexical": self.weights[1]}
            params["weights"] |= {"sparse": self.sparse} if self.sparse else {}
            params |= {"rrf_k": self.rrf_k, "depth": self.depth}
        body: dict[str, Any] = {"k": self.k, "mode": self.mode, "filter": self.filter, "params": params}
        if self.rerank is not None:
            body["rerank"] = {"top": self.rerank}
        return {("text" if isinstance(query, str) else "vector"): query, **body}


def check(query: Query, how: SearchOptions) -> None:
    """Raises ServiceError for a query that the API would refuse, whatever index it is for."""
    try:
        asked = limits.decode(SEARCH, msgspec.json.encode(calls.sendable(how.request(query))))
        check_search(asked)
        filters.parse(asked.filter)
    except Problem as problem:
        raise ServiceError(f"This cannot be searched: {problem.detail}") from None


class IndexSearcher(Protocol):
    """
    Args:
        modes: of searches that the generation answers.
    """

    generation: str
    modes: tuple[Mode, ...]

    def ask(self, queries: Sequence[Query], how: SearchOptions) -> list[list[Hit]]:
        """Hits of each query, best first; min(how.k, what the way of asking allows) of them."""

    def absent(self, documents: set[str]) -> set[str]:
        """Those that the index has neither under this id nor as the `doc_id` of a chunk."""


def rankings(asking: IndexSearcher, how: SearchOptions, seen: set[str]) -> Search:
    """`asking` as evaluation wants it: texts in, names of documents out; a chunk is named by its
    `doc_id`. What was found is added to `seen`."""

    def search(texts: Sequence[str], depth: int) -> list[list[str]]:
        answers = asking.ask(texts, how._replace(k=depth))
        found = [[name_of(hit.id, hit.payload.get("doc_id")) for hit in hits] for hits in answers]
        seen.update(*found)
        return found

    return search


def name_of(id_: str, name: object) -> str:
    """What judgements call a document: its id, or of a chunk its `doc_id`."""
    return str(name) if isinstance(name, str | int) and name != "" else id_
