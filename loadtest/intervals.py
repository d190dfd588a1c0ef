"""How sure a quantile is: the block bootstrap over slices of the window.

Requests next to each other in time share their queue, so they are not independent and the textbook interval of a quantile
(order statistics of a binomial) is far too narrow. Slices of a second or more are nearly independent as long as the queue
forgets within a slice. Resampling whole slices therefore carries the dependence along.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from loadtest.histogram import Histogram, slot_top_us
from loadtest.trial import Slice

RESAMPLES = 500
ENOUGH = 8  # slices; with fewer the resampling has nothing to choose from


def bootstrap_quantiles_s(
    slices: Sequence[Slice], q: float, resamples: int = RESAMPLES, seed: int = 0
) -> NDArray[np.float64]:
    """`resamples` draws of the q-quantile of the response time, seconds, inf where it falls among the unanswered.

    The same slices and seed give the same draws. They are kept, because one report asks for the same ones many times;
    callers must not write into them.
    """
    return _draws(tuple((piece.response, piece.unanswered) for piece in slices), q, resamples, seed)


@lru_cache(maxsize=1024)
def _draws(slices: tuple[tuple[str, int], ...], q: float, resamples: int, seed: int) -> NDArray[np.float64]:
    counts = np.stack([Histogram.decode(response).counts for response, _ in slices])
    used = np.flatnonzero(counts.sum(axis=0))
    unanswered = np.array([[lost] for _, lost in slices])
    table = np.concatenate([counts[:, used], unanswered], axis=1).astype(np.float64)
    values = np.append(slot_top_us(used) / 1e6, math.inf)
    n = len(slices)
    weights = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=resamples)
    running = np.cumsum(weights @ table, axis=1)
    ranks = np.maximum(np.ceil(q * running[:, -1] - 1e-9), 1)
    draws: NDArray[np.float64] = values[np.minimum((running < ranks[:, None]).sum(axis=1), len(used))]
    draws.setflags(write=False)
    return draws


def quantile_interval_s(slices: Sequence[Slice], q: float, level: float = 0.95, seed: int = 0) -> tuple[float, float]:
    """Two-sided interval of the q-quantile, seconds. (nan, inf) with fewer than ENOUGH slices: it is not known."""
    if len(slices) < ENOUGH or not any(piece.planned for piece in slices):
        return math.nan, math.inf
    draws = np.sort(bootstrap_quantiles_s(slices, q, seed=seed))
    edge = (1 - level) / 2
    low = draws[math.floor(edge * (len(draws) - 1))]
    high = draws[math.ceil((1 - edge) * (len(draws) - 1))]
    return float(low), float(high)
