"""A generation opened in this process, with what was written since; of an index in shards, one of each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import numpy.typing as npt

from index import Generation, IndexingError, InputError, Root
from index.changes.view import Searchable
from index.search.filtering import Filter, parse
from index.search.lexical.words import Matched
from index.shards.sealed import ShardedIndex
from index.shards.together import ShardRows
from service.cli.searcher.contract import BATCH, Mode, Query, SearchOptions, name_of
from service.errors import ServiceError, SettingsError
from service.query.following import Follower
from service.query.loading import encoder_for, fitted_of, open_checked
from service.query.ranked.fusion import DEPTH, FUSED_PER_HIT, effort_of, fuse
from service.rerank.texts import text_of
from service.settings import Settings
from service.wire.answer.search import Hit

if TYPE_CHECKING:
    from embed import Encoder
    from embed.encoders.fitted.encoder import FittedEncoder
    from embed.rerankers.contract import Reranker


class _Document(msgspec.Struct):
    """The one field of a payload that is read; in a foreign document it may have any type."""

    doc_id: Any = None


_DOCUMENT = msgspec.json.Decoder(_Document)


class LocalSearcher:
    def __init__(
        self,
        opened: Sequence[Generation],
        encoder: Encoder | None,
        fitted: FittedEncoder | None = None,
        reranker: Reranker | None = None,
    ) -> None:
        self.generation = opened[0].id
        words: tuple[Mode, ...] = ("lexical",) if all(each.lexical is not None for each in opened) else ()
        sparse: tuple[Mode, ...] = ("sparse",) if all(each.sparse is not None for each in opened) else ()
        self.modes: tuple[Mode, ...] = ("dense", *words, *sparse, *(("hybrid",) if words else ()))
        self._opened = opened
        views = [_as_now(each) for each in opened]
        integers = opened[0].manifest["id_type"] != "str"
        self._rows = views[0] if len(views) == 1 else ShardRows(views, integers)
        self._encoder, self._fitted, self._reranker = encoder, fitted, reranker

    @property
    def fitted(self) -> bool:
        """Whether a fitted encoder is asked before the model."""
        return self._fitted is not None

    @property
    def default_effort(self) -> int | None:
        """None where every vector is compared anyhow."""
        if all(each.family == "flat" for each in self._opened):
            return None
        return max(each.default_effort for each in self._opened)

    def by_model(self) -> LocalSearcher:
        """The same, with texts encoded by the whole model."""
        return LocalSearcher(self._opened, self._encoder, None, self._reranker)

    def ask(self, queries: Sequence[Query], how: SearchOptions) -> list[list[Hit]]:
        answers: list[list[Hit]] = []
        for start in range(0, len(queries), BATCH):
            part = queries[start : start + BATCH]
            try:
                wide = how if how.rerank is None else how._replace(k=how.rerank)
                for query, ranked in zip(part, self._ranked(part, wide), strict=True):
                    read = ranked if how.rerank is None else self._reranked(query, ranked[: wide.k])
                    answers.append([self._hit(row, score) for row, score in read[: how.k]])
            except InputError as error:
                raise ServiceError(str(error)) from error
        return answers

    def absent(self, documents: set[str]) -> set[str]:
        rows = {document: self._rows.row_of(document) for document in documents}
        missing = {document for document, row in rows.items() if row is None or self._named(document, row) != document}
        for row in range(self._rows.rows if missing else 0):
            missing.discard(self._named("", row))
        return missing

    def _named(self, id_: str, row: int) -> str:
        return name_of(id_, _DOCUMENT.decode(self._rows.payload(row)).doc_id)

    def _ranked(self, queries: Sequence[Query], how: SearchOptions) -> list[list[tuple[int, float]]]:
        """(row, score) of each query, best first; at least how.k where there are so many."""
        asked = None if how.filter is None else parse(how.filter)
        if how.mode == "dense":
            return self._dense(queries, how.k, how, asked)
        if how.mode == "lexical":
            return self._lexical(queries, how.k, asked)
        if how.mode == "sparse":
            return self._sparse(queries, how.k, asked)
        near = DEPTH if how.depth is None else how.depth
        depth = max(near, FUSED_PER_HIT * how.k)
        how = how._replace(effort=effort_of(how.effort, depth, self._share(asked)))
        third = self._sparse(queries, depth, asked) if how.sparse else [[] for _ in queries]
        lists = zip(self._dense(queries, depth, how, asked), self._lexical(queries, depth, asked), third, strict=True)
        weights = (*how.weights, how.sparse)
        return [
            fuse(dict(dense), dict(lexical), weights, how.rrf_k, self._rows.order, near, dict(sparse))
            for dense, lexical, sparse in lists
        ]

    def _share(self, asked: Filter | None) -> float:
        """Of the documents, that a filter keeps."""
        if asked is None:
            return 1.0
        kept = self._rows.survivors(asked)
        count = sum(each.count for each in kept) if isinstance(kept, list) else kept.count
        return float(count) / max(1, self._rows.count)

    def _reranked(self, query: Query, ranked: list[tuple[int, float]]) -> list[tuple[int, float]]:
        if self._reranker is None or not isinstance(query, str):
            raise ServiceError("Hits are reranked for a text, by the model of --reranker; one of the two is missing.")
        documents = [text_of(self._rows.payload(row)) for row, _score in ranked]
        scores = self._reranker.scores(query, documents).scores.tolist()
        found = [(row, score) for (row, _), score in zip(ranked, scores, strict=True)]
        return sorted(found, key=lambda hit: -hit[1])

    def _dense(
        self, queries: Sequence[Query], k: int, how: SearchOptions, asked: Filter | None
    ) -> list[list[tuple[int, float]]]:
        keep = None if asked is None else self._rows.survivors(asked)
        k = min(k, self._rows.rows)
        found = self._rows.search_rows(self._vectors(queries), k, how.effort, how.exact, keep)
        return [
            [(row, score) for row, score in zip(rows, scores, strict=True) if row >= 0]
            for rows, scores in zip(found.rows.tolist(), found.scores.tolist(), strict=True)
        ]

    def _lexical(self, queries: Sequence[Query], k: int, asked: Filter | None) -> list[list[tuple[int, float]]]:
        return _pairs([self._rows.search_words(text, k, asked) for text in _texts(queries)])

    def _sparse(self, queries: Sequence[Query], k: int, asked: Filter | None) -> list[list[tuple[int, float]]]:
        keep = None if asked is None else self._rows.survivors(asked)
        return _pairs([self._rows.search_sparse(text, k, keep) for text in _texts(queries)])

    def _hit(self, row: int, score: float) -> Hit:
        return Hit(self._rows.external_id(row), score, msgspec.json.decode(self._rows.payload(row)))

    def _vectors(self, queries: Sequence[Query]) -> npt.NDArray[np.float32]:
        texts = [query for query in queries if isinstance(query, str)]
        encoded: Iterator[npt.NDArray[np.float32]] = iter(())
        if texts:
            if self._encoder is None or self._opened[0].manifest["model"] is None:
                raise ServiceError(
                    f"Generation {self.generation} was built from bare vectors and knows no model to encode a "
                    "text with; search it with --vector FILE.npy."
                )
            encoded = iter(self._encoded(texts, self._encoder))
        return np.stack([next(encoded) if isinstance(query, str) else query for query in queries])

    def _encoded(self, texts: Sequence[str], model: Encoder) -> list[npt.NDArray[np.float32]]:
        """By the fitted encoder where it is used and takes a text, as a server does it, else by the model."""
        fitted = [None if self._fitted is None else self._fitted.encode(text) for text in texts]
        others = [text for text, found in zip(texts, fitted, strict=True) if found is None]
        by_model = iter(model.encode(others, kind="query") if others else ())
        return [next(by_model) if found is None else found for found in fitted]


def _texts(queries: Sequence[Query]) -> list[str]:
    texts = [query for query in queries if isinstance(query, str)]
    if len(texts) != len(queries):
        raise ServiceError("A search by words takes a text; a vector goes with --mode dense.")
    return texts


def _pairs(found: Sequence[Matched]) -> list[list[tuple[int, float]]]:
    return [list(zip(one.rows.tolist(), one.scores.tolist(), strict=True)) for one in found]


@contextmanager
def local_searcher(settings: Settings, name: str) -> Iterator[LocalSearcher]:
    """The current generation of `name` and the model of its vectors, checked as a server checks
    them."""
    try:
        sharded = ShardedIndex(settings.root, name)
        roots = sharded.generation().roots if sharded.there else [Root(settings.root)]
        paths = sharded.check(sharded.generation()) if sharded.there else [roots[0].path(name)]
    except IndexingError as error:
        raise SettingsError(str(error)) from error
    encoder = encoder_for(settings, roots[0], [name])
    opened: list[Generation] = []
    reranker = None
    try:
        for path in paths:
            opened.append(open_checked(path, encoder, settings.threads))
        if settings.reranker is not None:
            from embed import load_reranker

            reranker = load_reranker(settings.reranker, threads=settings.threads)
        yield LocalSearcher(opened, encoder, fitted_of(opened[0], encoder, settings.query_encoder), reranker)
    finally:
        for each in opened:
            each.close()
        if reranker is not None:
            reranker.close()
        if encoder is not None:
            encoder.close()


def _as_now(generation: Generation) -> Searchable:
    """A generation with what was written since; the view stays as it is."""
    follower = Follower(generation)
    rows = follower.now()
    follower.close()
    return rows
