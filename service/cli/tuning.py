"""Which way of searching an index is worth its price: judged queries through every corner, and what each of them took.

A corner is a search as a request would ask for it: a mode, an effort, how two rankings are fused; and what encodes the
text. Every query goes through every corner alone, in an order that is drawn anew for each query, so that a machine that
becomes faster or slower meanwhile does so for all of them alike. The cost is the processor time of this process on one
thread: encoding, searching, fetching the hits and reranking them, without HTTP. Nothing is cached. What a model costs
that runs elsewhere is not in it, but in the time that a query takes alone. What it all comes to is `judging.py`'s.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np

from service.cli.evaluate import Qrels, Ranking, fold, ndcg
from service.cli.judging import Allowed, Corner, Measured, Tuned, judge
from service.cli.searcher.contract import Mode, SearchOptions, rankings
from service.cli.searcher.local import LocalSearcher, local_searcher
from service.errors import JudgementsError
from service.settings import Settings

ROUNDS = 2  # through all corners, of which each query's cheaper one counts: the other was interrupted
DEEPEST = 10_000  # hits that are looked at for enough documents
WITHOUT_VECTORS: tuple[Mode, ...] = ("lexical", "sparse")  # no text is encoded

Ask = Callable[[str, SearchOptions], Ranking]  # documents of the hits, chunks already named by their document


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
        depths, weights: of the fusion; how many rows of each ranking count, and what words weigh, or as a third ranking
            sparse weights.
        exact: also comparing every vector.
        tops: how many hits a reranker reads.
    """
    found: list[Corner] = []
    searches = [SearchOptions(k, effort) for effort in efforts] + ([SearchOptions(k, exact=True)] if exact else [])
    if "dense" in modes:
        found += [Corner(how, encoder) for encoder in encoders for how in searches]
    found += [Corner(SearchOptions(k, mode=mode), "") for mode in WITHOUT_VECTORS if mode in modes]
    if "hybrid" in modes:
        for encoder in encoders:
            for how in searches:
                fused = how._replace(mode="hybrid")
                # One knob at a time: the product of all would take hours, and they hardly depend on one another.
                found += [Corner(fused._replace(weights=(1.0, weight)), encoder) for weight in weights]
                found += [Corner(fused._replace(depth=depth), encoder) for depth in depths]
                found.append(Corner(fused._replace(rrf_k=60), encoder))
                found += [Corner(fused._replace(sparse=weight), encoder) for weight in weights if "sparse" in modes]
    plain = [SearchOptions(k, mode=mode) for mode in modes]
    for encoder in encoders[:1]:
        found += [
            Corner(how._replace(rerank=top), "" if how.mode in WITHOUT_VECTORS else encoder)
            for how in plain
            for top in tops
        ]
    return list(dict.fromkeys(found))


def tune(
    queries: Mapping[str, str],
    qrels: Qrels,
    tried: Sequence[Corner],
    ask: Mapping[tuple[str, str], Ask],
    *,
    allowed: Allowed,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda _done, _of: None,
) -> Tuned:
    """Measures every corner of `tried` on every judged query.

    Args:
        ask: by the index and the encoder of a corner.
        allowed: what the recommended corner may lose and take.
        progress: told how many queries of how many are done.
    """
    random = np.random.default_rng(seed)
    judged = [query for query in queries if query in qrels]
    shape = len(tried), len(judged)
    gained, spent_us, took_ms = np.zeros(shape), np.full(shape, np.inf), np.full(shape, np.inf)
    if not judged:
        raise JudgementsError("No query of the queries file is judged in the qrels file; are they of one collection?")
    for query in judged[:3]:  # brings pages and code into memory
        for corner in tried:
            ask[corner.beside, corner.encoder](queries[query], corner.how)
    for at, query in enumerate(judged):
        for corner in [corner for _ in range(ROUNDS) for corner in random.permutation(len(tried)).tolist()]:
            how, encoder, index = tried[corner]
            began_s, start_s = time.perf_counter(), time.process_time()
            documents = _enough(ask[index, encoder], queries[query], how)
            spent_us[corner, at] = min(spent_us[corner, at], (time.process_time() - start_s) * 1e6)
            took_ms[corner, at] = min(took_ms[corner, at], (time.perf_counter() - began_s) * 1e3)
            gained[corner, at] = ndcg(documents, qrels[query], how.k)
        progress(at + 1, len(judged))
    return judge(tried, Measured(gained, spent_us, took_ms), allowed, random)


def _enough(ask: Ask, text: str, how: SearchOptions) -> list[str]:
    """The k best documents: where several hits are chunks of one, more hits are asked for."""
    wanted = how.k
    while True:
        hits = ask(text, how)
        documents = fold(hits)
        if len(documents) >= wanted or len(hits) < how.k or how.k >= DEEPEST:
            return documents[:wanted]
        how = how._replace(k=4 * how.k)
