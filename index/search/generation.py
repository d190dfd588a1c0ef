"""A generation as it is searched: mapped, immutable. `opening.py` checks it first.

Vectors, codes, ids and payload stay in the page cache and are shared by all processes that open the same generation.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from index.disk import layout
from index.disk.codes import LONGEST, Metric
from index.disk.layout import Originals
from index.disk.manifest import SPARSE
from index.disk.whole import read_whole
from index.errors import InputError
from index.kernels import _native
from index.search import finding
from index.search.bitmap import Bitmap
from index.search.exact import TopK
from index.search.fields.postings import open_columns
from index.search.filtering import Filter, Filters, parse
from index.search.finding import IN_BLOCKS, IN_ORDER, SCAN, Effort, Planner, find
from index.search.lexical.words import Lexical, Matched
from index.search.rowfiles import IntegerIds, Payload, StringIds
from index.search.sparse.searching import SparseIndex
from index.search.structure import open_structure


class Generation:
    """Searches one generation. Safe to use from several threads; `threads` is what one call may use."""

    def __init__(self, path: Path, manifest: dict[str, Any], threads: int, *, huge_pages: bool = False) -> None:
        self.path, self.manifest, self._threads = path, manifest, threads
        self.id: str = manifest["generation"]
        self.name: str = manifest["name"]
        self.count: int = manifest["count"]
        self.dim: int = manifest["dim"]
        self.metric: Metric = manifest["metric"]
        self.family: str = manifest["family"]
        self.profile: str | None = layout.profile_of(manifest)
        self.originals: Originals = layout.originals_of(manifest)
        self.whole = read_whole(path, manifest)  # of a shard, once all are there
        self.default_effort: int = (self.whole or {}).get("effort", manifest["effort"])["default"]
        cheaper = finding.effort_for(manifest["effort"]["curve"], manifest["recall"]["target"])
        self.target_effort = min(cheaper or self.default_effort, self.default_effort)
        in_order = IN_BLOCKS[self.profile] if self.profile and self.originals == "drop" else IN_ORDER
        self._planner = Planner(
            self.profile or self.family, self.count, manifest["effort"], in_order, self.target_effort
        )
        self.code_step: float = layout.code_step_of(manifest)
        self._rows, self._searcher, self._index = open_structure(path, manifest, threads, huge_pages=huge_pages)
        self._ids = StringIds(path) if manifest["id_type"] == "str" else IntegerIds(path)
        self._payload = Payload(path)
        self.filters = Filters(open_columns(path, manifest["filterable"], self.count), self.count)
        entry = manifest.get("lexical")
        self.lexical = None if entry is None else Lexical(path, entry, self.filters, self._payload.at)
        sparse = manifest.get(SPARSE)
        self.sparse = None if sparse is None else SparseIndex(path, sparse, self.count)

    def search(
        self,
        queries: NDArray[np.float32],
        k: int,
        effort: Effort | None = None,
        exact: bool = False,
        keep: NDArray[Any] | Bitmap | None = None,
    ) -> tuple[NDArray[Any], NDArray[np.float32]]:
        """External ids (q, k) and scores float32 (q, k) of the best k for each of `queries` float32 (q, dim).

        ids have the type that they were given in: int64 with −1, or objects of str with None, where there are fewer
        than k; the score there is −inf. Scores descend, higher is better for every metric (the inner product; minus the
        squared distance for l2), ties by id.

        Args:
            effort: The family's, or "target": the least that met the recall target for rows held out. By default one
                that does for questions too.
            exact: Look at every vector; where the originals were dropped, as their codes restore it.
            keep: Which rows may be returned: as `filter` gives them, as bool (n,), or as its bits, uint8 (⌈n / 8⌉,),
                packed from the lowest. The answer then holds min(k, kept rows).

        Raises:
            InputError: Queries have another shape or type, or are not finite (or zero, for cosine); k or effort is
                below 1; or `keep` has another shape.
        """
        found = self.search_rows(queries, k, effort, exact, keep)
        return self._ids.take(found.rows), found.scores

    def search_rows(
        self,
        queries: NDArray[np.float32],
        k: int,
        effort: Effort | None = None,
        exact: bool = False,
        keep: NDArray[Any] | Bitmap | None = None,
    ) -> TopK:
        """As `search`, with rows int64 (q, k) for ids, and how many vectors were compared, `scored` int64 (q,)."""
        return self.search_checked(self.checked(queries), k, effort, exact, keep)

    def search_checked(
        self,
        queries: NDArray[np.float32],
        k: int,
        effort: Effort | None = None,
        exact: bool = False,
        keep: NDArray[Any] | Bitmap | None = None,
    ) -> TopK:
        """As `search_rows`, of queries that `checked` returned."""
        if k < 1:
            raise InputError(f"k is {k}; expected at least 1")
        effort = self.effort_of(effort)
        if effort < 1:
            raise InputError(f"effort is {effort}; expected at least 1 (this index's default is {self.default_effort})")
        bits = keep if keep is None or isinstance(keep, Bitmap) else Bitmap(np.asarray(keep), self.count)
        reach = min(k, self.count)
        plan = SCAN if exact else self._planner.plan(reach, effort, bits)
        found = find(self._rows, self._searcher, queries, reach, effort, keep=bits, plan=plan)
        return found if reach == k else _padded(found, k)

    def search_words(
        self,
        text: str,
        k: int,
        filter_: Filter | None = None,
        exact: bool = False,
        held: Mapping[str, int] | None = None,
    ) -> Matched:
        """The best k rows by the words of `text`, BM25: rows int64 and scores float32 (m,), m < k where fewer match.

        Args:
            exact: scores do not depend, in their last bits, on how the search went.
            held: of changes, of which there are none here.

        Raises InputError for k below 1, and where the generation has no words; FilterError and FieldError as `filter`.
        """
        if self.lexical is None:
            raise InputError(
                f"{self.id} has no words to search: its payload had neither title nor text, or it was built without"
            )
        if k < 1:
            raise InputError(f"k is {k}; expected at least 1")
        k = min(k, self.count)
        if filter_ is None:
            return self.lexical.search(text, k, None, exact)
        # The ranking by vectors, or what counts the survivors, has most often made their bitmap before.
        known = self.filters.bitmap(filter_) if filter_.key and self.filters.known(filter_) else None
        return self.lexical.search(text, k, filter_.tree, exact, known)

    def search_sparse(self, text: str, k: int, keep: Bitmap | None = None) -> Matched:
        """As `search_words`, by the sparse weights of the text's tokens; `keep` as `survivors` gives it. Raises
        InputError, also where the generation was built without such weights."""
        if self.sparse is None:
            raise InputError(f"{self.id} has no sparse weights; build it with `perwatt build --sparse MODEL`")
        if k < 1:
            raise InputError(f"k is {k}; expected at least 1")
        return self.sparse.search(text, min(k, self.count), keep)

    def unweighed(self, keep: Bitmap | None = None) -> int:
        """Rows without sparse weights, where others have them: none."""
        return 0

    def new_words(self, text: str) -> dict[str, int]:
        """Words that changes alone hold: none."""
        return {}

    def compares_all(self, k: int, effort: Effort | None = None, keep: Bitmap | None = None) -> bool:
        """Whether a search for k hits compares all that may be one, since that is quicker, so its answer is exact."""
        return self._planner.plan(min(k, self.count), self.effort_of(effort), keep).scan

    def filter(self, given: Mapping[str, Any]) -> Bitmap:
        """The rows that survive a filter, {"field": "lang", "eq": "en"} and so on (filtering.py), for `keep`.

        Raises FilterError for one that is malformed or of another type than the field, FieldError for a field that was
        not declared.
        """
        return self.filters.bitmap(parse(given))

    def survivors(self, filter_: Filter) -> Bitmap:
        """As `filter`, of a parsed one."""
        return self.filters.bitmap(filter_)

    def payload(self, row: int) -> bytes:
        """The row's payload, a JSON object as bytes."""
        return self._payload.at(row)

    def external_id(self, row: int) -> str:
        return self._ids.external(row)

    def row_of(self, id_: str) -> int | None:
        """The row of an external id (an integer one as its decimal string), or None."""
        return self._ids.row_of(id_)

    def place_of(self, id_: str) -> int:
        """How many rows have an id before this one, in the order of ids."""
        return self._ids.place_of(id_)

    def as_of(self, rows: int) -> "Generation":
        """Itself: a generation does not change."""
        return self

    def order(self, row: int) -> Any:
        """What rows are sorted by where their scores are equal: rows lie in the order of their ids."""
        return row

    @property
    def rows(self) -> int:
        """One more than the largest row."""
        return self.count

    def value(self, name: str, row: int) -> Any:
        """What a declared field holds in a row, as `Type.read` gives it; None for no value."""
        return self.filters.column(name).value(row)

    def rows_with(self, name: str, values: Sequence[Any]) -> NDArray[np.int64]:
        """Rows of which a declared field holds one of the values, ascending."""
        return Bitmap(self.filters.column(name).one_of(values), self.count).rows

    def only(self, rows: NDArray[np.int64]) -> Bitmap:
        """These rows, for `keep`."""
        flags = np.zeros(self.count, np.bool_)
        flags[rows] = True
        return Bitmap(flags, self.count)

    def parts(self, keep: Bitmap | None) -> list[tuple[Filters, Bitmap | None]]:
        """The columns of the rows that `keep` lets through, and which those are; None: all."""
        return [(self.filters, keep)]

    def without(self, keep: Bitmap | None, rows: NDArray[np.int64]) -> Bitmap:
        """What `keep` lets through (None: everything) but for some rows."""
        return (keep or Bitmap(np.ones(self.count, np.bool_), self.count)).without(rows)

    def sample(self, wanted: int, seed: int) -> NDArray[np.int64]:
        """Up to `wanted` rows drawn at random, ascending; the same for the same seed."""
        return np.sort(np.random.default_rng(seed).choice(self.count, min(wanted, self.count), replace=False))

    def vector(self, row: int) -> NDArray[np.float32]:
        """The row's vector float32 (dim,), of length 1 for cosine; restored, where originals were dropped. A copy."""
        if not 0 <= row < self.count:
            raise IndexError(f"row {row} of {self.count}")
        return np.array(self._rows.between(row, row + 1)[0])

    def vectors(self, start: int, stop: int) -> NDArray[np.float32]:
        """The vectors of rows start to stop, as `vector` has them; a view into the file where they are kept."""
        return self._rows.between(start, stop)

    def effort_of(self, asked: Effort | None) -> int:
        """As a number; None is the default."""
        if asked is None:
            return self.default_effort
        return self.target_effort if asked == "target" else asked

    def effort_for(self, wanted: float) -> int:
        """The least measured effort whose recall@10 is at least `wanted`, by the lower end of its interval."""
        effort = finding.effort_for(self.manifest["effort"]["curve"], wanted)
        if effort is None:
            best = max(self.manifest["effort"]["curve"], key=lambda point: float(point["low"]))
            raise InputError(
                f"no measured effort of {self.id} reaches recall {wanted}; the best is {best['recall']:.4f} "
                f"(at least {best['low']:.4f}) at effort {best['effort']}. Ask for less, or use exact search."
            )
        return effort

    def close(self) -> None:
        """Lets go of the files. The generation must not be used afterwards."""
        del self._index, self._rows, self._searcher, self._ids, self._payload
        self.filters.columns.clear()
        if self.lexical is not None:
            self.lexical.close()
        self.sparse = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def checked(self, queries: NDArray[np.float32]) -> NDArray[np.float32]:
        """The queries as they are compared, of length 1 for cosine. Raises InputError as `search` does."""
        if queries.dtype != np.float32 or queries.ndim != 2 or queries.shape[1] != self.dim:
            raise InputError(f"queries are {queries.dtype} {queries.shape}; {self.id} expects float32 (q, {self.dim})")
        queries = np.ascontiguousarray(queries)
        scaled = np.empty_like(queries) if self.metric == "cosine" else None
        bad = _native.prepare(queries, LONGEST, self._threads, scaled)
        if bad < len(queries):
            what = "not finite or too long" if queries[bad].any() else "zero, which has no direction"
            raise InputError(f"query {bad} is {what}")
        return queries if scaled is None else scaled


def _padded(found: TopK, k: int) -> TopK:
    count, reach = found.rows.shape
    rows, scores = np.full((count, k), -1, np.int64), np.full((count, k), -np.inf, np.float32)
    rows[:, :reach], scores[:, :reach] = found.rows, found.scores
    return TopK(rows, scores, found.scored)
