"""Which way of searching an index is worth its price: judged queries through every corner, and the front of the two.

A corner is a search as a request would ask for it: a mode, an effort, how two rankings are fused; and what encodes the
text. Every query goes through every corner alone, in an order that is drawn anew for each query, so that a machine that
becomes faster or slower meanwhile does so for all of them alike. The cost is the processor time of this process on one
thread: encoding, searching, fetching the hits and reranking them, without HTTP. Nothing is cached. What a model costs
that runs elsewhere is not in it.

The intervals are of a bootstrap over queries (95 %): they say what other queries of the same kind would have given.
What a corner loses against the best is paired, query by query, and far better known than either figure. The corner that
is recommended is the cheapest whose loss is within what is allowed. It was chosen on the same judgements that it is
shown with: what a few dozen queries recommend should be looked at again with others.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from service.cli.evaluate import Qrels, Ranking, fold, ndcg
from service.cli.searchers import LocalSearcher, Mode, SearchOptions, local_searcher, rankings
from service.errors import JudgementsError
from service.settings import Settings

RESAMPLES = 2000
LEVEL = 0.95
ROUNDS = 2  # through all corners, of which each query's cheaper one counts: the other was interrupted
DEEPEST = 10_000  # hits that are looked at for enough documents

Values = npt.NDArray[np.float64]
Ask = Callable[[str, SearchOptions], Ranking]  # documents of the hits, chunks already named by their document


class Corner(NamedTuple):
    """
    Args:
        encoder: "model" or "auto", what encodes texts; "" where no text is encoded.
    """

    how: SearchOptions
    encoder: str

    @property
    def name(self) -> str:
        how = self.how
        words: list[str] = [how.mode]
        if how.mode != "lexical":
            words += ["exact"] if how.exact else [] if how.effort is None else [f"effort {how.effort}"]
        if how.mode == "hybrid":
            words.append(f"ranks, k {how.rrf_k}" if how.rrf_k else f"words × {how.weights[1]:g}")
            words += [] if how.depth is None else [f"depth {how.depth}"]
        words += [] if how.rerank is None else [f"rerank {how.rerank}"]
        return ", ".join([*words, *(["whole model"] if self.encoder == "model" else [])])

    def request(self) -> dict[str, Any]:
        """What a request says beside its text."""
        asked: dict[str, Any] = {"mode": self.how.mode}
        if params := self.params():
            asked["params"] = params
        if self.how.rerank is not None:
            asked["rerank"] = {"top": self.how.rerank}
        return asked

    def params(self) -> dict[str, Any]:
        """As a request has them, without what is the default."""
        params: dict[str, Any] = self.how.request("")["params"]
        if self.how.weights == (1.0, 1.0):
            params.pop("weights", None)
        return {name: value for name, value in params.items() if value is not None and value is not False}


class Interval(NamedTuple):
    mean: float
    low: float
    high: float


class Point(NamedTuple):
    """What a corner gave.

    Args:
        cpu_us: processor time of a query.
        loss: nDCG of the best corner less its own, paired.
        front: no corner is as good for less.
    """

    corner: Corner
    ndcg: Interval
    cpu_us: Interval
    loss: Interval
    front: bool


class Tuned(NamedTuple):
    """
    Args:
        points: in order of their price.
        best: with the highest nDCG.
        recommended: the cheapest whose loss is within what is allowed.
    """

    points: list[Point]
    best: Point
    recommended: Point
    queries: int


class Opened(NamedTuple):
    """An index to tune.

    Args:
        encoders: that it has for queries; the first is what a server would use.
        efforts: to try; None is its own.
        exact: whether comparing every vector is another search.
    """

    generation: str
    modes: tuple[Mode, ...]
    encoders: tuple[str, ...]
    efforts: list[int | None]
    exact: bool
    ask: dict[str, Ask]


@contextmanager
def opened(settings: Settings, name: str) -> Iterator[Opened]:
    """The current generation of `name`, its model, and the fitted query encoder if it has one."""

    def asking(searcher: LocalSearcher) -> Ask:
        return lambda text, how: rankings(searcher, how, set())([text], how.k)[0]

    with local_searcher(settings, name) as auto:
        ask = {"auto": asking(auto), "": asking(auto)}
        if auto.fitted:
            ask["model"] = asking(auto.by_model())
        own = auto.default_effort
        efforts: list[int | None] = [None, max(1, own // 2), 2 * own] if own else [None]
        yield Opened(auto.generation, auto.modes, tuple(name for name in ask if name), efforts, own is not None, ask)


def corners(
    modes: Sequence[Mode],
    encoders: Sequence[str],
    efforts: Sequence[int | None],
    depths: Sequence[int],
    weights: Sequence[float],
    exact: bool,
    k: int,
    tops: Sequence[int] = (),
) -> list[Corner]:
    """All that differ.

    Args:
        efforts: None is the index's own choice.
        depths, weights: of the fusion; how many rows of each ranking count, and what words weigh.
        exact: also comparing every vector.
        tops: how many hits a reranker reads.
    """
    found: list[Corner] = []
    searches = [SearchOptions(k, effort) for effort in efforts] + ([SearchOptions(k, exact=True)] if exact else [])
    if "dense" in modes:
        found += [Corner(how, encoder) for encoder in encoders for how in searches]
    if "lexical" in modes:
        found.append(Corner(SearchOptions(k, mode="lexical"), ""))
    if "hybrid" in modes:
        for encoder in encoders:
            for how in searches:
                fused = how._replace(mode="hybrid")
                # One knob at a time: the product of all would take hours, and they hardly depend on one another.
                found += [Corner(fused._replace(weights=(1.0, weight)), encoder) for weight in weights]
                found += [Corner(fused._replace(depth=depth), encoder) for depth in depths]
                found.append(Corner(fused._replace(rrf_k=60), encoder))
    plain = [SearchOptions(k, mode=mode) for mode in modes]
    for encoder in encoders[:1]:
        found += [
            Corner(how._replace(rerank=top), "" if how.mode == "lexical" else encoder) for how in plain for top in tops
        ]
    return list(dict.fromkeys(found))


def tune(
    queries: Mapping[str, str],
    qrels: Qrels,
    tried: Sequence[Corner],
    ask: Mapping[str, Ask],
    *,
    loss: float,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda _done, _of: None,
) -> Tuned:
    """Measures every corner of `tried` on every judged query.

    Args:
        ask: by the encoder of a corner.
        loss: of nDCG, that the recommended corner may have.
        progress: told how many queries of how many are done.
    """
    random = np.random.default_rng(seed)
    judged = [query for query in queries if query in qrels]
    gained = np.zeros((len(tried), len(judged)))
    spent_us = np.full((len(tried), len(judged)), np.inf)
    if not judged:
        raise JudgementsError("No query of the queries file is judged in the qrels file; are they of one collection?")
    for query in judged[:3]:  # brings pages and code into memory
        for corner in tried:
            ask[corner.encoder](queries[query], corner.how)
    for at, query in enumerate(judged):
        for corner in [corner for _ in range(ROUNDS) for corner in random.permutation(len(tried)).tolist()]:
            how, encoder = tried[corner]
            start_s = time.process_time()
            documents = _enough(ask[encoder], queries[query], how)
            spent_us[corner, at] = min(spent_us[corner, at], (time.process_time() - start_s) * 1e6)
            gained[corner, at] = ndcg(documents, qrels[query], how.k)
        progress(at + 1, len(judged))
    return judge(tried, gained, spent_us, loss, random)


def judge(tried: Sequence[Corner], gained: Values, spent_us: Values, loss: float, random: np.random.Generator) -> Tuned:
    """What the measurements come to.

    Args:
        gained: nDCG, (corners, queries).
        spent_us: processor time, (corners, queries).
    """
    means, costs = gained.mean(axis=1), spent_us.mean(axis=1)
    best = int(np.lexsort((costs, -means))[0])
    drawn = random.integers(0, gained.shape[1], (RESAMPLES, gained.shape[1]))
    order = np.lexsort((-means, costs)).tolist()
    points: list[Point] = []
    reached = -1.0
    for at in order:
        front, reached = means[at] > reached, max(reached, float(means[at]))
        figures = [_interval(values, drawn) for values in (gained[at], spent_us[at], gained[best] - gained[at])]
        points.append(Point(tried[at], figures[0], figures[1], figures[2], bool(front)))
    recommended = next(point for point in points if point.loss.mean <= loss + 1e-12)
    return Tuned(points, points[order.index(best)], recommended, gained.shape[1])


def as_json(tuned: Tuned) -> dict[str, Any]:
    """For programs: each point with the parts of a request that ask for it."""

    def one(point: Point) -> dict[str, Any]:
        request: dict[str, Any] = {"params": {}, **point.corner.request()}
        figures = {name: getattr(point, name)._asdict() for name in ("ndcg", "cpu_us", "loss")}
        return (
            {"name": point.corner.name, "query_encoder": point.corner.encoder or None, "request": request}
            | figures
            | {"front": point.front}
        )

    return {
        "queries": tuned.queries,
        "best": one(tuned.best),
        "recommended": one(tuned.recommended),
        "corners": [one(point) for point in tuned.points],
    }


def _enough(ask: Ask, text: str, how: SearchOptions) -> list[str]:
    """The k best documents: where several hits are chunks of one, more hits are asked for."""
    wanted = how.k
    while True:
        hits = ask(text, how)
        documents = fold(hits)
        if len(documents) >= wanted or len(hits) < how.k or how.k >= DEEPEST:
            return documents[:wanted]
        how = how._replace(k=4 * how.k)


def _interval(values: Values, drawn: npt.NDArray[np.int64]) -> Interval:
    low, high = np.quantile(values[drawn].mean(axis=1), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(values.mean()), float(low), float(high))
