"""What one request searches behind a router: all shards as if they were one index.

Every question goes to all shards at once, and the lists that come back are merged (`index/shards/merge.py`), before
anything is fused, grouped or cut into pages (`query/ranked/ranking.py`, which knows nothing of shards).
"""

from __future__ import annotations

import binascii
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from msgspec import UNSET, Raw

from index.search.filtering import Filter
from index.search.finding import Effort
from index.shards.plan import shard_of
from service.access.caller import Caller
from service.query.admission import Deadline
from service.query.searched import AllSearched, Marked, Matching, Vectors
from service.routing.rows import RoutedFound, RoutedRows, RoutedSurvivors, held_in_all, looked_at, spent_s
from service.routing.scatter import Scatter, Shards
from service.wire import limits
from service.wire.parts import PartAnswer, PartCounts, PartRequest, Without
from service.wire.request.facets import Facet
from service.wire.request.search import Highlight, SearchRequest
from service.wire.request.vectors import packed

_OBJECT = msgspec.json.Decoder(dict[str, Raw])
_NOTHING = Raw(b"{}")


class RoutedView:
    """One request's, or what several queries of a batch have in common.

    Args:
        rows: of a view of the same request.
        queries: that are searched for together: what they need comes with their hits.
    """

    page_rows = 1
    fitted = None  # each shard may have one of its own, and all vectors of a query have to be the same
    _fields: list[str] | None = None
    _payloads = 0
    _value: str | None = None
    _compared_all = True

    def __init__(
        self, index: Shards, min_seq: int | None = None, rows: RoutedRows | None = None, *queries: SearchRequest
    ) -> None:
        self._index = index
        self.name, self.id, self.dim, self.model = index.name, index.id, index.dim, index.model
        self.metric = index.metric
        self.count = self.reach = index.count
        self.rows = RoutedRows(index.integers) if rows is None else rows
        self._brought: dict[int, Raw] = {}
        partial = False
        if queries:
            first = queries[0]
            partial = all(query.allow_partial for query in queries)
            if all(query.fields == first.fields and query.rerank is None for query in queries):
                self._fields = first.fields  # of what is read anew, title and text are needed whatever the answer has
            if first.mode != "hybrid" and first.group_by is None and first.cursor is None:
                self._payloads = max([looked_at(query) for query in queries])
            self._value = first.group_by
        self._scatter = Scatter(index, self.rows, min_seq, partial)

    def asking(self, *queries: SearchRequest) -> RoutedView:
        """The view of queries that are searched for together."""
        return RoutedView(self._index, self._scatter.min_seq, self.rows, *queries)

    @property
    def seq(self) -> int:
        """The largest that any shard has searched."""
        return self.rows.seq

    @property
    def answered(self) -> tuple[int | None, int | None]:
        return len(self._index.shards), self._scatter.answered

    @property
    def codes(self) -> bool:
        return self._index.codes

    def as_of(self, rows: int, keep: RoutedSurvivors | None) -> tuple[RoutedView, RoutedSurvivors | None]:
        return self, keep

    def page_mark(self, row: int) -> tuple[int, str]:
        return 0, self.rows.external_id(row)

    def page_order(self, row: int, id_: str) -> Any:
        return self.rows.order_of(id_)

    def field_type(self, name: str) -> str:
        return self._index.field_type(name)

    def compares_all(self, exact: bool, k: int, keep: Any = None, effort: Effort | None = None) -> bool:
        """Whether every shard that was asked for vectors did."""
        return self._compared_all

    async def survivors(self, filter_: Filter | None, deadline: Deadline) -> RoutedSurvivors | None:
        """What is known before any shard was asked: the filters."""
        return None if filter_ is None else RoutedSurvivors(filter_.key.split(b"\0"))

    def without_groups(
        self,
        filter_: Filter | None,
        keep: RoutedSurvivors | None,
        name: str,
        values: Sequence[Any],
        alone: Sequence[int],
    ) -> tuple[Filter | None, RoutedSurvivors]:
        ids = [self.rows.external_id(row) for row in alone]
        return filter_, RoutedSurvivors(keep.filters if keep else (), Without(name, list(values), ids))

    async def search(
        self,
        vectors: Vectors,
        k: int,
        effort: Effort | None,
        exact: bool,
        deadline: Deadline,
        keep: RoutedSurvivors | None = None,
    ) -> RoutedFound:
        asked = self._asked(k, keep)
        asked.effort, asked.exact = effort, exact
        near = await self._scatter.near(asked, vectors, deadline)
        self._note(near.said, keep)
        return self._near(near.said, near.first, len(vectors), k, spent_s(near.said) / near.searches)

    async def search_words(
        self,
        text: str,
        k: int,
        filter_: Filter | None,
        exact: bool,
        deadline: Deadline,
        keep: RoutedSurvivors | None = None,
    ) -> Matching:
        asked = self._asked(k, keep)
        asked.text, asked.exact = text, exact
        said = await self._all(asked, deadline, keep)
        return await self._matching(asked, said, spent_s(said), k, deadline, keep)

    async def search_sparse(
        self, text: str, k: int, deadline: Deadline, keep: RoutedSurvivors | None = None
    ) -> Matching:
        asked = self._asked(k, keep)
        asked.sparse = text
        return self._weighed(await self._all(asked, deadline, keep), k)

    async def search_all(
        self,
        vectors: Vectors,
        text: str,
        k: int,
        filter_: Filter | None,
        effort: Effort | None,
        exact: bool,
        deadline: Deadline,
        keep: RoutedSurvivors | None = None,
        *,
        sparse: bool = False,
    ) -> AllSearched:
        """All of it of one request to each shard, which does it on one view."""
        asked = self._asked(k, keep)
        asked.vectors, asked.queries, asked.effort, asked.exact = packed(vectors), len(vectors), effort, exact
        asked.text, asked.sparse = text, text if sparse else None
        said = await self._all(asked, deadline, keep)
        lexical_s = sum([part.lexical_ms for part in said]) / 1e3
        weighed = self._weighed(said, k) if sparse else None
        near = self._near(said, 0, len(vectors), k, spent_s(said) - lexical_s - (weighed.cpu_s if weighed else 0.0))
        # Found already, should words be asked for once more.
        asked.vectors, asked.queries, asked.sparse = None, 1, None
        return AllSearched(near, await self._matching(asked, said, lexical_s, k, deadline, keep), weighed)

    def _weighed(self, said: Sequence[PartAnswer], k: int) -> Matching:
        found = self.rows.matched([part.sparse for part in said if part.sparse], k, self._brought)
        return Matching(found, sum([part.sparse_ms for part in said]) / 1e3, sum([part.unweighed for part in said]))

    def _near(self, said: Sequence[PartAnswer], first: int, queries: int, k: int, cpu_s: float) -> RoutedFound:
        self._compared_all = self._compared_all and all(part.exact for part in said)
        lists = [[part.dense[query] for part in said] for query in range(first, first + queries)]
        return RoutedFound([self.rows.best_of(each, k, self._brought) for each in lists], k, cpu_s)

    async def _matching(
        self,
        asked: PartRequest,
        said: list[PartAnswer],
        cpu_s: float,
        k: int,
        deadline: Deadline,
        keep: RoutedSurvivors | None,
    ) -> Matching:
        held = held_in_all(said)
        if held and len(said) > 1:  # what a word is worth that only changes hold, every shard has to know
            asked.held = held
            said = await self._all(asked, deadline, keep)
            cpu_s += spent_s(said)
        return Matching(self.rows.matched([part.lexical for part in said if part.lexical], k, self._brought), cpu_s)

    async def document(
        self, id_: str, caller: Caller, deadline: Deadline, keep: RoutedSurvivors | None = None
    ) -> int | None:
        """Brings a document that the caller may see here, with its vector; None where there is none."""
        imposed = [] if caller.filter is None else [msgspec.json.encode(caller.filter)]
        asked = PartRequest(
            documents=[id_], vectors_of=True, fields=self._fields, filters=[Raw(raw) for raw in imposed]
        )
        (said,) = await self._scatter.some({self._owner(id_): asked}, deadline)
        if not said.documents or not said.documents[0].survives:
            return None
        row = self.rows.take_document(said.documents[0], self._brought)
        if keep is not None:
            asked.filters = [Raw(raw) for raw in keep.filters]
            (said,) = await self._scatter.some({self._owner(id_): asked}, deadline)
            if said.documents and said.documents[0].survives:
                keep.held.add(row)
        return row

    async def bring(self, rows: Sequence[int], deadline: Deadline) -> None:
        """Payloads of rows that have none yet; an empty one of a document that was deleted since it was found."""
        missing = [self.rows.external_id(row) for row in rows if row not in self._brought]
        for said in await self._of_owners(missing, deadline, fields=self._fields):
            for document in said.documents:
                self.rows.take_document(document, self._brought)
        for row in rows:
            self._brought.setdefault(row, _NOTHING)

    async def highlights(self, text: str, asked: Highlight, ids: Sequence[str], deadline: Deadline) -> Marked:
        """Where the words of a text stand in hits, as each one's shard has indexed them."""
        said = await self._of_owners(ids, deadline, fields=[], words=text, highlight=asked)
        found = {document.id: document.highlights for part in said for document in part.documents}
        return Marked([found.get(id_) or {} for id_ in ids], sum(part.cpu_ms for part in said) / 1e3)

    def payload(self, row: int, fields: list[str] | None) -> Raw:
        payload = self._brought[row]
        if fields == self._fields:
            return payload
        there = _OBJECT.decode(payload)
        return Raw(msgspec.json.encode({name: there[name] for name in fields or () if name in there}))

    async def counted(self, keep: Any, deadline: Deadline) -> int:
        """Documents that filters keep; all of them without. keep: as `survivors` gave it."""
        await self._all(self._asked(1, keep), deadline, keep)
        return self.count if keep is None else keep.count

    def effort_of(self, effort: Effort | None) -> int:
        """In numbers; of what each shard knows for itself, the largest."""
        return self._index.effort_of(effort)

    async def sample(self, wanted: int, deadline: Deadline) -> Vectors:
        """The vectors of so many documents drawn at random, of each shard according to its size."""
        counts = [part.count for part in await self._scatter.all(PartRequest(), deadline)]
        whole = max(1, sum(counts))
        asked = {
            number: PartRequest(sample=min(limits.RECALL_QUERIES, -(-wanted * count // whole)))
            for number, count in enumerate(counts)
        }
        said = await self._scatter.some(asked, deadline)
        raw = b"".join(binascii.a2b_base64(part.sample) for part in said if part.sample)
        return np.frombuffer(raw, "<f4").reshape(-1, self.dim)[:wanted].astype(np.float32)

    async def tallies(
        self, facet: Facet, keep: RoutedSurvivors | None, best: Sequence[int] | None, deadline: Deadline
    ) -> list[PartCounts]:
        """What the shards count of a facet, among what filters keep, or among some rows."""
        facet = msgspec.structs.replace(facet, filter=UNSET)
        if best is None:
            asked = self._asked(1, keep)
            asked.facet = facet
            said = await self._all(asked, deadline, keep)
        else:
            said = await self._of_owners([self.rows.external_id(row) for row in best], deadline, facet=facet)
        return [part.counts for part in said if part.counts is not None]

    def _asked(self, k: int, keep: RoutedSurvivors | None) -> PartRequest:
        return PartRequest(
            k=min(k, limits.PART_ROWS),
            filters=[] if keep is None else [Raw(raw) for raw in keep.filters],
            without=None if keep is None else keep.without,
            payloads=self._payloads,
            fields=self._fields,
            value=self._value,
        )

    def _owner(self, id_: str) -> int:
        return shard_of(id_, len(self._index.shards))

    async def _of_owners(self, ids: Sequence[str], deadline: Deadline, **asked: Any) -> list[PartAnswer]:
        """What the shards of some documents say of them."""
        mine = defaultdict[int, list[str]](list)
        for id_ in ids:
            mine[self._owner(id_)].append(id_)
        return await self._scatter.some(
            {number: PartRequest(documents=each, **asked) for number, each in mine.items()}, deadline
        )

    async def _all(self, asked: PartRequest, deadline: Deadline, keep: RoutedSurvivors | None) -> list[PartAnswer]:
        said = await self._scatter.all(asked, deadline)
        self._note(said, keep)
        return said

    def _note(self, said: Sequence[PartAnswer], keep: RoutedSurvivors | None) -> None:
        self.count = sum([part.count for part in said])
        if keep is not None:
            keep.count = sum([part.survivors for part in said])
