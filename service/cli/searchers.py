"""Two ways to search from the command line: in this process, or on a running server.

Both give the same hits. The first needs the files and loads the model. The second needs neither, and uses the batch
route like any other client. They share one interface, so that `perwatt search` and `perwatt eval` are written once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol
from urllib.parse import urlsplit

import msgspec
import numpy as np
import numpy.typing as npt

from index import Generation, IndexingError, InputError, Root
from index.changes.view import Searchable
from index.search.filtering import Filter, parse
from index.shards.sealed import ShardedIndex
from index.shards.together import ShardRows
from service.cli.evaluate import Search
from service.client import Client, ClientError, ProblemError, calls
from service.errors import RemoteError, ServiceError, SettingsError
from service.query.following import Follower
from service.query.ranked.fusion import DEPTH, FUSED_PER_HIT, effort_of, fuse
from service.query.loading import encoder_for, fitted_of, open_checked
from service.rerank.texts import text_of
from service.settings import Settings
from service.wire import filters, limits
from service.wire.requests.search import SEARCH, check_search
from service.wire.answers.search import BatchItem, Hit
from service.wire.problems import Problem

if TYPE_CHECKING:
    from embed import Encoder
    from embed.encoders.fitted.encoder import FittedEncoder
    from embed.rerankers.contract import Reranker
    from index.search.finding import Effort

Query = str | npt.NDArray[np.float32]  # a text, or a vector float32 (dim,)

Mode = Literal["dense", "lexical", "hybrid"]
MODES: tuple[Mode, ...] = ("dense", "lexical", "hybrid")
BATCH = 64  # queries a request
REMOTE_TIMEOUT_S = 120


class _Document(msgspec.Struct):
    """The one field of a payload that is read; in a foreign document it may have any type."""

    doc_id: Any = None


class _Reply(msgspec.Struct):
    """What is read of an index's description and of the answer to a batch."""

    generation: str
    modes: tuple[Mode, ...] = MODES[:1]
    results: list[BatchItem] = []


_DOCUMENT = msgspec.json.Decoder(_Document)


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

    def request(self, query: Query) -> dict[str, Any]:
        """The body of a search, as the API takes it."""
        params: dict[str, Any] = {"effort": self.effort, "exact": self.exact}
        if self.mode == "hybrid":
            params["weights"] = {"dense": self.weights[0], "lexical": self.weights[1]}
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


class LocalSearcher:
    """A generation opened in this process, with what was written since; of an index in shards, one of each."""

    def __init__(
        self,
        opened: Sequence[Generation],
        encoder: Encoder | None,
        fitted: FittedEncoder | None = None,
        reranker: Reranker | None = None,
    ) -> None:
        self.generation = opened[0].id
        self.modes: tuple[Mode, ...] = MODES if all(each.lexical is not None for each in opened) else MODES[:1]
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
        return _name(id_, _DOCUMENT.decode(self._rows.payload(row)).doc_id)

    def _ranked(self, queries: Sequence[Query], how: SearchOptions) -> list[list[tuple[int, float]]]:
        """(row, score) of each query, best first; at least how.k where there are so many."""
        asked = None if how.filter is None else parse(how.filter)
        if how.mode == "dense":
            return self._dense(queries, how.k, how, asked)
        if how.mode == "lexical":
            return self._lexical(queries, how.k, asked)
        near = DEPTH if how.depth is None else how.depth
        depth = max(near, FUSED_PER_HIT * how.k)
        how = how._replace(effort=effort_of(how.effort, depth, self._share(asked)))
        both = zip(self._dense(queries, depth, how, asked), self._lexical(queries, depth, asked), strict=True)
        return [
            fuse(dict(dense), dict(lexical), how.weights, how.rrf_k, self._rows.order, near) for dense, lexical in both
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
        texts = [query for query in queries if isinstance(query, str)]
        if len(texts) != len(queries):
            raise ServiceError("A search by words takes a text; a vector goes with --mode dense.")
        found = [self._rows.search_words(text, k, asked) for text in texts]
        return [list(zip(one.rows.tolist(), one.scores.tolist(), strict=True)) for one in found]

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
        return [next(by_model) if found is None else found.vector for found in fitted]


class RemoteSearcher:
    """A running server, by the batch route.

    Args:
        key: for one that asks for it.
    """

    def __init__(self, url: str, name: str, key: str | None = None) -> None:
        if urlsplit(url).scheme not in ("http", "https"):
            raise SettingsError(f"--url {url}: expected an address like http://127.0.0.1:8000.")
        self._url = url
        self._name = name
        self._client = Client(url, key=key, timeout_s=REMOTE_TIMEOUT_S)
        described = self._call(calls.index(name))
        self.generation, self.modes = described.generation, described.modes

    def close(self) -> None:
        self._client.close()

    def ask(self, queries: Sequence[Query], how: SearchOptions) -> list[list[Hit]]:
        how = how._replace(k=min(how.k, limits.K if how.rerank is None else how.rerank))
        expect = {"generation": self.generation}  # no mixture of two when it is switched
        answers: list[list[Hit]] = []
        for start in range(0, len(queries), BATCH):
            bodies = [how.request(query) | {"expect": expect} for query in queries[start : start + BATCH]]
            for result in self._call(calls.search_batch(self._name, bodies, timeout_ms=limits.TIMEOUT_MS)).results:
                if result.error is not None:
                    raise RemoteError(f"The server answered: {result.error['detail']}")
                answers.append(result.hits)
        return answers

    def absent(self, documents: set[str]) -> set[str]:
        """One call per document; `perwatt embed` names the first chunk of a document `ID#0`."""
        return {each for each in documents if not self._has(each) and not self._has(f"{each}#0")}

    def _has(self, id_: str) -> bool:
        try:
            self._client.call(calls.document(self._name, id_, fields=()))
        except ProblemError as problem:
            if problem.code in ("document-not-found", "invalid-value"):  # the second of what no id can be
                return False
            raise RemoteError(f"The server answered: {problem.detail}") from problem
        except ClientError as error:
            raise self._silent(error) from error
        return True

    def _silent(self, error: ClientError) -> RemoteError:
        return RemoteError(f"No answer from {self._url} ({error}); is `perwatt serve` running there?")

    def _call(self, call: calls.Call[Any]) -> _Reply:
        try:
            reply: _Reply = self._client.call(msgspec.structs.replace(call, gives=_Reply))
        except ProblemError as problem:
            raise RemoteError(f"The server answered: {problem.detail}") from problem
        except ClientError as error:
            raise self._silent(error) from error
        return reply


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


def rankings(asking: IndexSearcher, how: SearchOptions, seen: set[str]) -> Search:
    """`asking` as evaluation wants it: texts in, names of documents out; a chunk is named by its
    `doc_id`. What was found is added to `seen`."""

    def search(texts: Sequence[str], depth: int) -> list[list[str]]:
        answers = asking.ask(texts, how._replace(k=depth))
        found = [[_name(hit.id, hit.payload.get("doc_id")) for hit in hits] for hits in answers]
        seen.update(*found)
        return found

    return search


def _name(id_: str, name: object) -> str:
    return str(name) if isinstance(name, str | int) and name != "" else id_
