"""What the query path asks of what it searches: a served generation, or shards elsewhere, of which each knows a part.

ServedView      one generation with its changes, in this process      served_view.py
RoutedView      the shards of one, behind a router                    routing/view.py
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from msgspec import Raw

from index import TopK
from index.search.filtering import Filter
from index.search.finding import Effort
from index.search.lexical.words import Matched
from service.access.caller import Caller
from service.query.admission import Deadline
from service.query.highlight import Fragments
from service.wire.default_search import DefaultSearch
from service.wire.request.search import Highlight, SearchRequest

if TYPE_CHECKING:
    from embed.encoders.fitted.encoder import FittedEncoder

Vectors = np.ndarray[Any, np.dtype[np.float32]]


class Survived(Protocol):
    """The documents that a filter keeps."""

    @property
    def count(self) -> int: ...
    def holds(self, row: int) -> bool: ...


class RankedRows(NamedTuple):
    """Of one vector.

    Args:
        rows: best first; less than 0 is none.
        scored: how many rows it was compared with.
    """

    rows: list[int]
    scores: list[float]
    scored: int


class Searched(Protocol):
    """What a search by vectors found, of each as rows or of all as a matrix."""

    @property
    def cpu_s(self) -> float: ...
    @property
    def found(self) -> TopK: ...
    def of(self, query: int) -> RankedRows: ...


class Matching(NamedTuple):
    """What a text matched, by its words or by sparse weights.

    Args:
        unweighed: of the rows that might be hits, those that have no sparse weights yet.
    """

    found: Matched
    cpu_s: float
    unweighed: int = 0


class AllSearched(NamedTuple):
    """What the rankings of a hybrid search found; None: that by sparse weights was not asked for."""

    near: Searched
    words: Matching
    sparse: Matching | None


class Marked(NamedTuple):
    """Where the words of a text stand in hits."""

    fragments: list[Fragments]
    cpu_s: float


class HitRows(Protocol):
    """What is known of a document by its row."""

    def order(self, row: int) -> Any: ...
    def external_id(self, row: int) -> str: ...
    def vector(self, row: int) -> np.ndarray[tuple[int], np.dtype[np.float32]]: ...
    def value(self, name: str, row: int) -> Any: ...


class SearchView(Protocol):
    """What one request searches. Its members are described at `ServedView`."""

    @property
    def name(self) -> str: ...
    @property
    def id(self) -> str: ...
    @property
    def dim(self) -> int: ...
    @property
    def metric(self) -> str: ...
    @property
    def model(self) -> str | None: ...
    @property
    def seq(self) -> int: ...
    @property
    def count(self) -> int: ...
    @property
    def rows(self) -> HitRows: ...
    @property
    def reach(self) -> int: ...
    @property
    def fitted(self) -> FittedEncoder | None: ...
    @property
    def page_rows(self) -> int: ...
    @property
    def answered(self) -> tuple[int | None, int | None]: ...
    @property
    def codes(self) -> bool: ...
    def asking(self, *queries: SearchRequest) -> SearchView: ...
    def as_of(self, rows: int, keep: Any) -> tuple[SearchView, Any]: ...
    def page_mark(self, row: int) -> tuple[int, str]: ...
    def page_order(self, row: int, id_: str) -> Any: ...
    def field_type(self, name: str) -> str: ...
    def compares_all(self, exact: bool, k: int, keep: Any = None, effort: Effort | None = None) -> bool: ...
    def payload(self, row: int, fields: list[str] | None) -> Raw: ...
    def without_groups(
        self, filter_: Filter | None, keep: Any, name: str, values: Sequence[Any], alone: Sequence[int]
    ) -> tuple[Filter | None, Any]: ...
    async def survivors(self, filter_: Filter | None, deadline: Deadline) -> Any: ...
    def effort_of(self, effort: Effort | None) -> int: ...
    async def counted(self, keep: Any, deadline: Deadline) -> int: ...
    async def sample(self, wanted: int, deadline: Deadline) -> Vectors: ...
    async def search(
        self, vectors: Vectors, k: int, effort: Effort | None, exact: bool, deadline: Deadline, keep: Any = None
    ) -> Searched: ...
    async def search_words(
        self, text: str, k: int, filter_: Filter | None, exact: bool, deadline: Deadline, keep: Any = None
    ) -> Matching: ...
    async def search_sparse(self, text: str, k: int, deadline: Deadline, keep: Any = None) -> Matching: ...
    async def search_all(
        self,
        vectors: Vectors,
        text: str,
        k: int,
        filter_: Filter | None,
        effort: Effort | None,
        exact: bool,
        deadline: Deadline,
        keep: Any = None,
        *,
        sparse: bool = False,
    ) -> AllSearched: ...
    async def document(self, id_: str, caller: Caller, deadline: Deadline, keep: Any = None) -> int | None: ...
    async def highlights(self, text: str, asked: Highlight, ids: Sequence[str], deadline: Deadline) -> Marked: ...
    async def bring(self, rows: Sequence[int], deadline: Deadline) -> None: ...


class LoadedIndex(Protocol):
    """What answers for a name, leased for the length of a with block."""

    @property
    def id(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def model(self) -> str | None: ...
    @property
    def dim(self) -> int: ...
    @property
    def count(self) -> int: ...
    @property
    def described(self) -> str: ...
    @property
    def default_search(self) -> DefaultSearch | None: ...
    async def view_at(self, min_seq: int | None, deadline: Deadline) -> SearchView: ...
    async def view_for(self, query: SearchRequest, deadline: Deadline) -> SearchView: ...
    def __enter__(self) -> LoadedIndex: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class LoadedIndexes(Protocol):
    """Which index answers for which name."""

    @property
    def failures(self) -> Mapping[str, str]: ...
    @property
    def missing(self) -> str | None: ...
    def all(self) -> Mapping[str, LoadedIndex]: ...
    def loaded(self, index: str) -> LoadedIndex: ...
    def start(self) -> None: ...
    async def reload_all(self) -> None: ...
    def close(self) -> None: ...
