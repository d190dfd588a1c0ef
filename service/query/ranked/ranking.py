"""From a resolved query to rows in order: dense, lexical, sparse, or fused; one per group; from where the last page
ended.

    dense     nearest vectors                                   index/search/generation.py
    lexical   BM25 over the words of the text                   index/search/lexical/
    sparse    weights that a model gave the tokens of documents index/search/sparse/
    hybrid    them, fused                                       fusion.py

All of it builds on one question, "the best n rows of these survivors", which each of the first three answers. Of a
group only the best row is a hit: rows of the groups that were found are removed from the survivors and the question is
asked again for twice as many rows, until there are enough groups or no rows left. So there are k groups whenever the
index has k. A hybrid search fuses deeper rankings anew in place of that: it has the groups of the best
`limits.PART_ROWS` of each, and in pages those of one fusion of a fixed depth.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from msgspec import UnsetType

from index import FieldError
from index.search.filtering import Filter
from service.query.admission import Deadline
from service.query.batcher import Vector
from service.query.ranked.fusion import DEPTH, FUSED_PER_HIT, effort_of, explained, fuse
from service.query.searched import Matching, Searched, SearchView, Survived
from service.rerank.reranking import Judged
from service.wire import limits
from service.wire.answer.search import Explanation, RankPlace
from service.wire.cursor import Cursor
from service.wire.limits import PAGED_DEPTH
from service.wire.problems import Problem
from service.wire.request.fields import Mode
from service.wire.request.search import SearchRequest


class Survivors(NamedTuple):
    """What may be a hit: the filter and the rows that it keeps; None and None for all.

    Args:
        own: the rows of the documents that ask for their like, or unlike.
    """

    filter: Filter | None = None
    keep: Survived | None = None
    own: tuple[int, ...] = ()

    def count(self, view: SearchView) -> int:
        if self.keep is None:
            return view.count - len(self.own)
        return self.keep.count - sum(map(self.keep.holds, self.own))


class RankedHit(NamedTuple):
    """One hit.

    Args:
        dense, lexical, sparse: its score in each ranking of a hybrid search, None where it is not in it.
        explain: where that is asked for.
    """

    row: int
    score: float
    dense: float | None = None
    lexical: float | None = None
    sparse: float | None = None
    explain: Explanation | None = None


class RankedHits(NamedTuple):
    """
    Args:
        hits: best first.
        more: whether there are hits behind them.
        cut: whether rows that might be were not looked at.
        lexical_s, sparse_s: how much of the time went there.
        judged: what a reranker made of the hits.
        unweighed: rows that might be hits and have no sparse weights yet.
    """

    hits: list[RankedHit]
    more: bool
    cut: bool
    scored: int
    exact: bool
    cpu_s: float
    lexical_s: float
    judged: Judged | None = None
    sparse_s: float = 0.0
    unweighed: int = 0


class Ranking:
    """One query over one generation; adds up what it costs on the way."""

    def __init__(
        self, view: SearchView, query: SearchRequest, vector: Vector | None, survivors: Survivors, deadline: Deadline
    ) -> None:
        self._view, self._query, self._vector, self._deadline = view, query, vector, deadline
        self._survivors = survivors
        params = query.params
        self._effort, self._exact = (None, False) if params is None else (params.effort, params.exact)
        self._rrf_k = None if params is None else params.rrf_k
        self._near = DEPTH if params is None or params.depth is None else params.depth
        if query.mode == "hybrid":
            # A router does not know yet how many survive, and says 0; of none any effort finds all.
            keep = survivors.keep
            share = 1.0 if keep is None or not keep.count else keep.count / max(1, view.count)
            self._effort = effort_of(self._effort, max(self._near, FUSED_PER_HIT * query.k), share)
        weights = None if params is None else params.weights
        self._weights = (1.0, 1.0, 0.0) if weights is None else (weights.dense, weights.lexical, weights.sparse)
        self._scored, self._cpu_s, self._lexical_s, self._sparse_s = 0, 0.0, 0.0, 0.0
        self._unweighed = 0
        self._cut, self._compared_all = False, True
        self.depth = 0  # of the rankings that were fused for a page

    async def hits(self, k: int, after: Cursor | None) -> RankedHits:
        """The best k, or the k that follow `after`."""
        if self._query.mode == "hybrid" and self._query.cursor is not None:
            self.depth = after.depth if after else max(PAGED_DEPTH, FUSED_PER_HIT * k)
        wanted = (after.seen if after else 0) + k + 1
        while True:
            found = await (self._grouped(wanted) if self._query.group_by else self._best(wanted))
            if after is None or self.depth or len(found) < wanted or wanted >= min(self._view.reach, limits.PART_ROWS):
                break
            # A deeper search may find what the one before missed: better rows than the last page's, which are passed
            # over, and are no reason to end.
            last = self._passed(after)
            if sum(self._place(hit) > last for hit in found) > k:
                break
            wanted = min(2 * wanted, limits.PART_ROWS)
        if self._query.explain and self._query.mode != "hybrid":
            places = [RankPlace(rank, hit.score) for rank, hit in enumerate(found, 1)]
            found = [
                hit._replace(explain=_explained(self._query.mode, place))
                for hit, place in zip(found, places, strict=True)
            ]
        if after is not None:
            found = self._behind(found, after)
        return RankedHits(
            found[:k],
            len(found) > k,
            self._cut,
            self._scored,
            self._compared_all,
            self._cpu_s,
            self._lexical_s,
            None,
            self._sparse_s,
            self._unweighed,
        )

    def _behind(self, found: list[RankedHit], after: Cursor) -> list[RankedHit]:
        """What follows the last hit of the page before."""
        if self.depth:  # where a better hit is gone, all that are left are fused to other scores
            for place, hit in enumerate(found):
                if self._view.page_mark(hit.row) == (after.row, after.id):
                    return found[place + 1 :]
        last = self._passed(after)
        return [hit for hit in found if self._place(hit) > last]

    def _passed(self, after: Cursor) -> tuple[float, Any]:
        """The place of the last hit of the page before."""
        return -after.score, self._view.page_order(after.row, after.id)

    async def _best(self, wanted: int) -> list[RankedHit]:
        if self._query.mode != "hybrid":
            return await self._rank(self._survivors, wanted)
        return await self._rank(self._survivors, self.depth or max(self._near, FUSED_PER_HIT * (wanted - 1)))

    async def _grouped(self, wanted: int) -> list[RankedHit]:
        """The best row of each of the `wanted` best groups."""
        field = group_field(self._view, self._query.group_by or "")
        taken: dict[object, RankedHit] = {}
        survivors, depth = self._survivors, self.depth or 2 * wanted
        most = min(self._view.reach, limits.PART_ROWS) if self._query.mode == "hybrid" else self._view.reach
        while True:
            found = await self._rank(survivors, depth)
            if self._query.mode == "hybrid":
                taken = {}  # deeper rankings fuse to other scores
            for hit in found:
                value = self._view.rows.value(field, hit.row)
                taken.setdefault((hit.row,) if value is None else value, hit)  # without a value, a group of its own
            if len(taken) >= wanted or len(found) < depth or depth >= most or self.depth:
                return sorted(taken.values(), key=self._place)[:wanted]
            if self._query.mode != "hybrid":
                survivors = _without(self._survivors, self._view, field, taken)
            depth = min(2 * depth, most)
            self._deadline.check()

    def _place(self, hit: RankedHit) -> tuple[float, Any]:
        """What hits are sorted by: best first, ties by id."""
        return -hit.score, self._view.rows.order(hit.row)

    async def _rank(self, survivors: Survivors, depth: int) -> list[RankedHit]:
        rows = max(1, self._view.count)  # of no rows, the best one is asked for, and not found
        depth = min(depth, rows)
        if self._query.mode == "dense":
            return [RankedHit(row, score) for row, score in (await self._dense(survivors, depth)).items()]
        if self._query.mode == "lexical":
            return [RankedHit(row, score) for row, score in (await self._lexical(survivors, depth)).items()]
        if self._query.mode == "sparse":
            return [RankedHit(row, score) for row, score in (await self._sparse(survivors, depth)).items()]
        depth = min(max(depth, self._near), rows)
        dense, lexical, sparse = await self._all(survivors, depth)
        fused = fuse(dense, lexical, self._weights, self._rrf_k, self._view.rows.order, self._near, sparse)
        used = [len(rows) for rows, weight in zip((dense, lexical, sparse), self._weights, strict=True) if weight]
        self._cut = max(used, default=0) == depth and len(fused) < survivors.count(self._view)
        hits = [RankedHit(row, score, dense.get(row), lexical.get(row), sparse.get(row)) for row, score in fused]
        if not self._query.explain:
            return hits
        said = explained(fused, dense, lexical, self._weights, self._rrf_k, self._near, sparse)
        return [hit._replace(explain=each) for hit, each in zip(hits, said, strict=True)]

    async def _dense(self, survivors: Survivors, depth: int) -> dict[int, float]:
        """Row to score, best first."""
        if self._vector is None:
            return {}
        reach = depth + len(survivors.own)
        searched = await self._view.search(
            self._vector.reshape(1, -1), reach, self._effort, self._exact, self._deadline, survivors.keep
        )
        return self._near_rows(searched, survivors, depth)

    async def _lexical(self, survivors: Survivors, depth: int) -> dict[int, float]:
        matched = await self._view.search_words(
            self._text, depth, survivors.filter, self._exact, self._deadline, survivors.keep
        )
        return self._matching_rows(matched)

    async def _sparse(self, survivors: Survivors, depth: int) -> dict[int, float]:
        return self._weighed_rows(await self._view.search_sparse(self._text, depth, self._deadline, survivors.keep))

    async def _all(
        self, survivors: Survivors, depth: int
    ) -> tuple[dict[int, float], dict[int, float], dict[int, float]]:
        """`_dense`, `_lexical`, and where it weighs anything `_sparse`, asked at once."""
        assert self._vector is not None  # the text of a hybrid search is encoded …
        assert not survivors.own  # … and it is like no documents
        how = survivors.filter, self._effort, self._exact, self._deadline, survivors.keep
        sparse = self._weights[2] > 0
        found = await self._view.search_all(self._vector.reshape(1, -1), self._text, depth, *how, sparse=sparse)
        weighed = {} if found.sparse is None else self._weighed_rows(found.sparse)
        return self._near_rows(found.near, survivors, depth), self._matching_rows(found.words), weighed

    @property
    def _text(self) -> str:
        assert self._query.text is not None  # `check_search` saw to it
        return self._query.text

    def _near_rows(self, searched: Searched, survivors: Survivors, depth: int) -> dict[int, float]:
        own, reach = survivors.own, depth + len(survivors.own)
        rows, scores, scored = searched.of(0)
        self._compared_all &= self._view.compares_all(self._exact, reach, survivors.keep, self._effort)
        self._scored += scored
        self._cpu_s += searched.cpu_s
        found = {row: score for row, score in zip(rows, scores, strict=True) if row >= 0 and row not in own}
        while len(found) > depth:
            found.popitem()
        return found

    def _matching_rows(self, matched: Matching) -> dict[int, float]:
        self._cpu_s += matched.cpu_s
        self._lexical_s += matched.cpu_s
        return _by_row(matched)

    def _weighed_rows(self, matched: Matching) -> dict[int, float]:
        self._cpu_s += matched.cpu_s
        self._sparse_s += matched.cpu_s
        self._unweighed = max(self._unweighed, matched.unweighed)  # of the first search, of several for groups
        return _by_row(matched)


def _explained(mode: Mode | UnsetType, place: RankPlace) -> Explanation:
    """Of a hit in the one ranking there is."""
    if mode == "sparse":
        return Explanation(sparse=place)
    return Explanation(place) if mode == "dense" else Explanation(None, place)


def _by_row(matched: Matching) -> dict[int, float]:
    return dict(zip(matched.found.rows.tolist(), matched.found.scores.tolist(), strict=True))


def group_field(view: SearchView, name: str) -> str:
    """A field to group by; raises Problem for one that was not declared, or holds no single value."""
    try:
        type_ = view.field_type(name)
    except FieldError as error:
        raise Problem("filter-field-not-indexed", f"To group by it: {error}.", pointer="/group_by") from None
    if type_ not in ("keyword", "int"):
        raise Problem(
            "invalid-value",
            f"Hits are grouped by a keyword or int field, and {name!r} is {type_}.",
            pointer="/group_by",
        )
    return name


def _without(survivors: Survivors, view: SearchView, field: str, taken: Mapping[object, RankedHit]) -> Survivors:
    """The survivors that are in none of the groups taken, for the rows to search and for the query of words alike."""
    alone = [hit.row for group, hit in taken.items() if isinstance(group, tuple)]
    values = [group for group in taken if not isinstance(group, tuple)]
    filter_, keep = view.without_groups(survivors.filter, survivors.keep, field, values, alone)
    return Survivors(filter_, keep, survivors.own)
