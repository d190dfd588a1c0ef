"""When requests are due: a Poisson process, drawn in advance from a seed, that does not care how the service fares.

Users arrive independently of one another and of our response times. Their arrivals are therefore a Poisson process:
gaps are exponential, not equal. The difference is not cosmetic: at 80 % load a server with constant service time makes
Poisson arrivals wait two service times on average and perfectly paced arrivals not at all, so a paced generator finds a
knee that no production traffic will ever see.

The sum of independent Poisson processes is Poisson. So each Locust user is one stream, and ten users at 50 q/s are one
stream at 500 q/s; ramping users ramps the rate.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MOST_QPS = 1e8  # beyond any machine; a rate that is infinite by mistake would fill the memory
BLOCK = 4096  # gaps drawn at once: one numpy call a few times a second, 32 KiB


class PoissonStream:
    """Gaps in seconds of one stream. The same (seed, stream) gives the same gaps on every machine.

    Distinct `stream` tuples give independent sequences, whatever the seed (numpy's SeedSequence spawn keys).
    """

    __slots__ = ("_gaps", "_left", "_random", "rate_qps")

    def __init__(self, rate_qps: float, seed: int, stream: tuple[int, ...] = (0,)) -> None:
        if not 0 < rate_qps < MOST_QPS:
            raise ValueError(f"the rate of a stream must be above 0 and below {MOST_QPS:g} q/s, got {rate_qps}")
        self.rate_qps = rate_qps
        self._random = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=stream))
        self._gaps: list[float] = []

    def gap_s(self) -> float:
        """The time to the next arrival."""
        if not self._gaps:
            self._gaps = self._random.exponential(1.0 / self.rate_qps, BLOCK)[::-1].tolist()
        return self._gaps.pop()

    def arrivals_s(self, horizon_s: float) -> NDArray[np.float64]:
        """All arrivals in [0, horizon), for virtual time: the same numbers that `gap_s` would have added up to."""
        blocks: list[NDArray[np.float64]] = []
        reached = 0.0
        while reached < horizon_s:
            block = reached + np.cumsum(self._random.exponential(1.0 / self.rate_qps, BLOCK))
            blocks.append(block)
            reached = float(block[-1])
        every = np.concatenate(blocks)
        return every[every < horizon_s]
