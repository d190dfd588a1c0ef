"""Queues in virtual time: servers whose knee is known on paper, measured by the very code that measures real ones.

M/D/1 has one server with constant service time, M/M/c has c with exponential ones; both are fed by the schedule that
the real generator uses. Nothing waits for a clock, so an hour of load takes a second and always gives the same numbers.
Trials made here are marked as simulated by whoever records them; they are for proving the harness and for examples.
"""

from __future__ import annotations

import functools
import heapq
import math

import numpy as np
import scipy
from numpy.typing import NDArray

from loadtest.generator.session import slice_length_s
from loadtest.record.histogram import Histogram
from loadtest.record.trial import GeneratorFacts, RecallEstimate, Slice, Trial
from loadtest.workload.schedule import PoissonStream

EPOCH = "2000-01-01T00:00:00Z"  # virtual time begins nowhere


class Queue:
    """A service: how long each request takes, and by how many servers. `service_s` draws n service times."""

    def __init__(self, mean_s: float, servers: int = 1, constant: bool = True) -> None:
        self.mean_s = mean_s
        self.servers = servers
        self.constant = constant

    def service_s(self, count: int, random: np.random.Generator) -> NDArray[np.float64]:
        if self.constant:
            return np.full(count, self.mean_s)
        return random.exponential(self.mean_s, count)

    def response_s(self, arrivals_s: NDArray[np.float64], random: np.random.Generator) -> NDArray[np.float64]:
        """Time from arrival to answer of each request, first come first served."""
        service = self.service_s(len(arrivals_s), random)
        if self.servers == 1:
            # Lindley: departures are the running maximum of (arrival − work before it), plus the work so far.
            work = np.cumsum(service)
            response: NDArray[np.float64] = work + np.maximum.accumulate(arrivals_s - (work - service)) - arrivals_s
            return response
        free = [0.0] * self.servers
        departures: list[float] = []
        for arrival, length in zip(arrivals_s.tolist(), service.tolist(), strict=True):
            first = free[0]
            end = (first if first > arrival else arrival) + length
            heapq.heapreplace(free, end)
            departures.append(end)
        return np.array(departures) - arrivals_s

    @property
    def capacity_qps(self) -> float:
        return self.servers / self.mean_s


def simulated_trial(
    queue: Queue,
    rate_qps: float,
    duration_s: float,
    seed: int,
    role: str = "run",
    recall: RecallEstimate | None = None,
    warmup_s: float = 5.0,
) -> Trial:
    """What a perfect generator would have recorded of `queue` under Poisson load; requests of the warm-up left out."""
    span_s = duration_s + warmup_s
    arrivals = PoissonStream(rate_qps, seed).arrivals_s(span_s) if rate_qps > 0 else np.zeros(0)
    random = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(2,)))
    response = queue.response_s(arrivals, random) if arrivals.size else arrivals
    inside = arrivals >= warmup_s
    arrivals, response = arrivals[inside] - warmup_s, response[inside]
    slice_s = slice_length_s(duration_s)
    slices = []
    count = math.ceil(duration_s / slice_s)
    edges = np.searchsorted(arrivals, [i * slice_s for i in range(count + 1)])
    for i in range(count):
        here = response[edges[i] : edges[i + 1]]
        slices.append(Slice(i * slice_s, len(here), len(here), 0, Histogram.of_seconds(here).encode()))
    encoded = Histogram.of_seconds(response).encode()
    quiet = Histogram.of_seconds(np.zeros(max(len(response), 1))).encode()
    return Trial(
        role=role,
        offered_qps=rate_qps,
        window_s=duration_s,
        slice_s=slice_s,
        started_at=EPOCH,
        seed=seed,
        planned=len(response),
        sent=len(response),
        shed=0,
        missed=0,
        answered=len(response),
        errors={},
        response=encoded,
        service=encoded,
        slices=slices,
        generator=GeneratorFacts(1, [[0.0] * max(int(duration_s), 1)], quiet, quiet, 1_000_000),
        recall=recall,
    )


# ---- on paper


def md1_response_cdf(t_s: float, rate_qps: float, service_s: float) -> float:
    """P(response ≤ t) of M/D/1, by Franx's sum (Operations Research Letters 29, 2001), whose terms are all positive.

    With kD − D ≤ x < kD for a wait of x: P(W ≤ x) = e^{−u} Σ_{j<k} Q_{k−1−j} uʲ/j!, u = λ(kD − x), where Q_m is the
    chance that at most m wait. The older sum by Erlang and Crommelin alternates and loses all digits some forty
    services out.
    """
    wait = t_s - service_s
    if wait < 0:
        return 0.0
    k = math.floor(wait / service_s + 1e-12) + 1
    at_most = np.cumsum(_md1_in_system(rate_qps * service_s, k + 1))[1:]  # m waiting is m + 1 in the system
    u = max(rate_qps * (k * service_s - wait), 0.0)
    terms = [math.exp(-u)]
    for j in range(1, k):
        terms.append(terms[-1] * u / j)
    return math.fsum(float(at_most[k - 1 - j]) * terms[j] for j in range(k))


@functools.lru_cache(maxsize=1024)
def _md1_in_system(rho: float, most: int) -> NDArray[np.float64]:
    """P(n in the system), n = 0 … most, from the balance at departures (Pollaczek, Khinchine). Nobody may write into
    it: whoever draws a tail asks for the same ones thousands of times."""
    arrive = [math.exp(-rho)]
    for n in range(1, most + 1):
        arrive.append(arrive[-1] * rho / n)
    p = [1 - rho]
    for n in range(most):
        spent = p[0] * arrive[n] + math.fsum(p[i] * arrive[n - i + 1] for i in range(1, n + 1))
        p.append(max((p[n] - spent) / arrive[0], 0.0))
    chances = np.array(p)
    chances.setflags(write=False)
    return chances


def mmc_response_tail(t_s: float, rate_qps: float, mean_s: float, servers: int) -> float:
    """P(response > t) of M/M/c: Erlang C for the chance to wait, then the sum of an exponential wait and service."""
    mu = 1 / mean_s
    a = rate_qps / mu
    rho = a / servers
    inverse = math.fsum(
        math.exp(math.lgamma(servers + 1) - math.lgamma(k + 1) + (k - servers) * math.log(a)) * (1 - rho)
        for k in range(servers)
    )
    waits = 1 / (1 + inverse)
    theta = servers * mu - rate_qps  # rate of the wait, given that there is one
    if math.isclose(theta, mu, rel_tol=1e-9):
        both = (1 + mu * t_s) * math.exp(-mu * t_s)
    else:
        both = (theta * math.exp(-mu * t_s) - mu * math.exp(-theta * t_s)) / (theta - mu)
    return (1 - waits) * math.exp(-mu * t_s) + waits * both


def paper_knee_qps(queue: Queue, slo_s: float, q: float = 0.99) -> float:
    """The rate at which the q-quantile of the response time equals `slo_s`."""

    def excess(rate: float) -> float:
        if queue.constant:
            if queue.servers != 1:
                raise ValueError("the knee of M/D/c has no closed form here: use one server or exponential service")
            return md1_response_cdf(slo_s, rate, queue.mean_s) - q
        return 1 - mmc_response_tail(slo_s, rate, queue.mean_s, queue.servers) - q

    return float(scipy.optimize.brentq(excess, queue.capacity_qps * 1e-3, queue.capacity_qps * (1 - 1e-6)))
