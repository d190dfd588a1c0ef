"""What measured searches come to: which of them nothing beats, what each loses, and which one is worth its price.

The intervals are of a bootstrap over queries (95 %): they say what other queries of the same kind would have given.
What a corner loses against the best is paired, query by query, and far better known than either figure. The corner that
is recommended is the cheapest whose loss is within what is allowed, among those that are quick enough. It was chosen on
the same judgements that it is shown with: what a few dozen queries recommend should be looked at again with others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from service.cli.searcher.contract import SearchOptions
from service.errors import JudgementsError

RESAMPLES = 2000
LEVEL = 0.95

Values = npt.NDArray[np.float64]


class Corner(NamedTuple):
    """
    Args:
        encoder: "model" or "auto", what encodes texts; "" where no text is encoded.
        beside: the name of another index that is tried too; "" for the one that is tuned.
    """

    how: SearchOptions
    encoder: str
    beside: str = ""

    @property
    def name(self) -> str:
        how = self.how
        words: list[str] = [how.mode]
        if how.mode in ("dense", "hybrid"):
            words += ["exact"] if how.exact else [] if how.effort is None else [f"effort {how.effort}"]
        if how.mode == "hybrid":
            words.append(f"ranks, k {how.rrf_k}" if how.rrf_k else f"words × {how.weights[1]:g}")
            words += [f"sparse × {how.sparse:g}"] if how.sparse else []
            words += [] if how.depth is None else [f"depth {how.depth}"]
        words += [] if how.rerank is None else [f"rerank {how.rerank}"]
        said = ", ".join([*words, *(["whole model"] if self.encoder == "model" else [])])
        return f"{self.beside}: {said}" if self.beside else said

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
        if self.how.weights == (1.0, 1.0) and not self.how.sparse:
            params.pop("weights", None)
        return {name: value for name, value in params.items() if value is not None and value is not False}


class Interval(NamedTuple):
    mean: float
    low: float
    high: float


class Allowed(NamedTuple):
    """What the recommended search may cost.

    Args:
        loss: of nDCG, against the best search.
        p99_ms: of a query alone; None: any.
    """

    loss: float
    p99_ms: float | None = None


class Measured(NamedTuple):
    """Of every corner and query, (corners, queries).

    Args:
        gained: nDCG.
        spent_us: processor time.
        took_ms: time of a query alone.
    """

    gained: Values
    spent_us: Values
    took_ms: Values


class Point(NamedTuple):
    """What a corner gave.

    Args:
        cpu_us: processor time of a query.
        loss: nDCG of the best corner less its own, paired.
        p99_ms: of the time of a query alone.
        front: no corner is as good for less.
        quick: whether its p99 is within what is allowed.
    """

    corner: Corner
    ndcg: Interval
    cpu_us: Interval
    loss: Interval
    p99_ms: Interval
    front: bool
    quick: bool = True


class Tuned(NamedTuple):
    """
    Args:
        points: in order of their price.
        best: with the highest nDCG.
        recommended: the cheapest whose loss is within what is allowed, of those that are quick enough; where none of
            those is that good, the best of them.
    """

    points: list[Point]
    best: Point
    recommended: Point
    queries: int


def judge(tried: Sequence[Corner], measured: Measured, allowed: Allowed, random: np.random.Generator) -> Tuned:
    """What the measurements come to. Raises JudgementsError where no search is quick enough."""
    gained, spent_us, took_ms = measured
    means, costs = gained.mean(axis=1), spent_us.mean(axis=1)
    best = int(np.lexsort((costs, -means))[0])
    drawn = random.integers(0, gained.shape[1], (RESAMPLES, gained.shape[1]))
    order = np.lexsort((-means, costs)).tolist()
    points: list[Point] = []
    reached = -1.0
    for at in order:
        front, reached = means[at] > reached, max(reached, float(means[at]))
        had, spent, lost = (
            _interval(values, drawn) for values in (gained[at], spent_us[at], gained[best] - gained[at])
        )
        p99 = _p99(took_ms[at], drawn)
        quick = allowed.p99_ms is None or p99.mean <= allowed.p99_ms
        points.append(Point(tried[at], had, spent, lost, p99, bool(front), quick))
    quick_ones = [point for point in points if point.quick]
    if not quick_ones:
        quickest = min(points, key=lambda point: point.p99_ms.mean)
        raise JudgementsError(
            f"No search of this index keeps a p99 of {allowed.p99_ms:g} ms: the quickest, {quickest.corner.name}, "
            f"takes {quickest.p99_ms.mean:.2f} ms. Allow more with --slo-p99-ms, or build for less effort."
        )
    good = [point for point in quick_ones if point.loss.mean <= allowed.loss + 1e-12]
    recommended = good[0] if good else min(quick_ones, key=lambda point: point.loss.mean)
    return Tuned(points, points[order.index(best)], recommended, gained.shape[1])


def as_json(tuned: Tuned, joules_of_cpu_s: Interval | None = None) -> dict[str, Any]:
    """For programs: each point with the parts of a request that ask for it.

    Args:
        joules_of_cpu_s: what a second of processor time takes; None: nobody knows.
    """

    def one(point: Point) -> dict[str, Any]:
        request: dict[str, Any] = {"params": {}, **point.corner.request()}
        figures = {name: getattr(point, name)._asdict() for name in ("ndcg", "cpu_us", "loss", "p99_ms")}
        spent = None if joules_of_cpu_s is None else joules(point, joules_of_cpu_s)._asdict()
        return (
            {"name": point.corner.name, "index": point.corner.beside or None}
            | {"query_encoder": point.corner.encoder or None, "request": request}
            | figures
            | {"joules": spent, "front": point.front, "quick": point.quick}
        )

    return {
        "queries": tuned.queries,
        "best": one(tuned.best),
        "recommended": one(tuned.recommended),
        "corners": [one(point) for point in tuned.points],
    }


def joules(point: Point, of_cpu_s: Interval) -> Interval:
    """Of a query: its processor time at that price; low and high are the price's."""
    return Interval(*(point.cpu_us.mean / 1e6 * price for price in of_cpu_s))


def _interval(values: Values, drawn: npt.NDArray[np.int64]) -> Interval:
    low, high = np.quantile(values[drawn].mean(axis=1), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(values.mean()), float(low), float(high))


def _p99(values: Values, drawn: npt.NDArray[np.int64]) -> Interval:
    low, high = np.quantile(np.quantile(values[drawn], 0.99, axis=1), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(np.quantile(values, 0.99)), float(low), float(high))
