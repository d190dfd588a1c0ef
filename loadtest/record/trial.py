"""One trial: what was offered to a service for a while, and what came back. The raw record that everything is made
from.

Requests belong to the measured window by the time they were *due*, not by the time they were sent or answered;
otherwise the slowest ones would fall out at the end. Histograms are HdrHistograms in µs, encoded. `slices` cut the
window into equal pieces: intervals, drift and the pictures over time come from them.
"""

from __future__ import annotations

import math

import msgspec

from loadtest.power.energy import Energy
from loadtest.record.histogram import Histogram

SPOILERS = ("generator", "lost generator", "other programs")  # causes of a failed check without the service's part


class Slice(msgspec.Struct, forbid_unknown_fields=True):
    """A piece of the window: requests due in [start_s, start_s + slice_s)."""

    start_s: float
    planned: int
    answered: int
    unanswered: int
    response: str


class RecallEstimate(msgspec.Struct, forbid_unknown_fields=True):
    """Recall@k against exact answers, over `queries` distinct queries: mean and its two-sided 95 % interval. `measure`
    names another measure: "judged recall" or "ndcg", against judgements."""

    mean: float
    low: float
    high: float
    queries: int
    k: int
    measure: str = "recall"


class ServerSide(msgspec.Struct, forbid_unknown_fields=True):
    """What the service said about itself in the sampled answers, and what its processes used while we watched."""

    sampled: int
    took: str  # its own clock (took_ms)
    service: str  # ours, of the same sampled requests
    cpu_ms_mean: float | None = None  # usage.cpu_ms
    vectors_scored_mean: float | None = None
    tokens_mean: float | None = None  # usage.tokens: what of a text was encoded for this answer
    # usage.cached: of the texts asked, those that the service had the vectors of; None: no texts, or it does not say
    cached_share: float | None = None
    stages_ms: dict[str, float] = {}  # the mean of each stage that the answers name in Server-Timing
    generations: list[str] = []
    models: list[str] = []
    short_answers: int = 0  # 200, but fewer than k hits, and not because of a filter
    partial_answers: int = 0
    unreadable: int = 0  # of those sampled: 200, but not an answer to a search; they are in short_answers too
    cores_used: float | None = None  # mean over the window, of the processes that listen at the URL's port
    rss_bytes: list[int] = []  # one a second
    watched: str = "not on this machine"
    servers: int = 0  # behind a router: those whose processes are in cores_used and rss_bytes, beside its own
    others_cores: float | None = None  # of records before trials had `interference`; written no more
    stolen_cores: float | None = None  # the same


class OneGenerator(msgspec.Struct, forbid_unknown_fields=True):
    """One of several: what it had to send, and how it fared. lag and stall as in GeneratorFacts."""

    name: str
    planned: int
    missed: int
    lag: str
    stall: str
    machine: str = ""  # tells machines apart; empty: that of the master
    apart_ms: float = 0.0  # how far its clock may have been from the master's


class GeneratorFacts(msgspec.Struct, forbid_unknown_fields=True):
    """How the generator fared: what the validity checks look at. Where it is several, `each` is in the order of
    `cpu`."""

    processes: int
    cpu: list[list[float]]  # share of one core, a list a process, a value a second
    lag: str  # actual minus due time of every send
    stall: str  # lateness of a 10 ms ticker
    max_in_flight: int
    priority: str = "normal"  # or "real time"
    each: list[OneGenerator] = []
    lost: list[str] = []  # who did not come to the end, and when, in words

    @property
    def machines(self) -> set[str]:
        """Other ones than the master's that sent load."""
        return {one.machine for one in self.each if one.machine}


class Interference(msgspec.Struct, forbid_unknown_fields=True):
    """What others took, over the window, of the CPUs that the service or the generator could run on.

    `whose`: service, generator, or "service and generator" where they may run on the same. Cores are means.
    """

    whose: str
    cpus: int
    others_cores: float  # used by other programs; interrupts are not counted, most of them are our own traffic
    stolen_cores: float  # given to somebody else by the hypervisor while they were wanted here

    @property
    def share(self) -> float:
        return self.others_cores / self.cpus


class LocustView(msgspec.Struct, forbid_unknown_fields=True):
    """The same requests as Locust's own statistics have them: service time, rounded to whole ms below 100 ms."""

    requests: int
    failures: int
    p50_ms: float
    p99_ms: float


class ValidityCheck(msgspec.Struct, forbid_unknown_fields=True):
    """One test of the trial. `ok` None: could not be checked, or is not judged. `cause` is who would be to blame."""

    name: str
    ok: bool | None
    found: str
    limit: str
    cause: str = "generator"


class Trial(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Counts are of requests due in the window; `errors` by kind; rates in queries a second."""

    role: str
    offered_qps: float
    window_s: float
    slice_s: float
    started_at: str
    seed: int
    effort: int | None = None
    planned: int
    sent: int
    shed: int
    missed: int
    answered: int
    errors: dict[str, int]
    response: str
    service: str
    slices: list[Slice]
    generator: GeneratorFacts
    server: ServerSide | None = None
    recall: RecallEstimate | None = None
    locust: LocustView | None = None
    energy: Energy | None = None
    interference: list[Interference] = []
    gates: list[ValidityCheck] = []

    @property
    def unanswered(self) -> int:
        return self.planned - self.answered

    @property
    def achieved_qps(self) -> float:
        return self.answered / self.window_s

    @property
    def error_rate(self) -> float:
        return sum(self.errors.values()) / self.sent if self.sent else 0.0

    @property
    def answered_share(self) -> float:
        """Answered of planned; 1.0 when nothing was planned (an idle trial)."""
        return self.answered / self.planned if self.planned else 1.0

    @property
    def valid(self) -> bool:
        return all(check.ok is not False for check in self.gates)

    @property
    def spoiled(self) -> bool:
        """By the generator or by other programs: whatever it shows, it says nothing about the service."""
        return any(check.ok is False and check.cause in SPOILERS for check in self.gates)

    def response_s(self, q: float) -> float:
        """Quantile of the response time from the due time; unanswered requests count as slower than any."""
        return Histogram.decode(self.response).quantile_s(q, self.unanswered)

    def service_s(self, q: float) -> float:
        """Quantile of the time from the actual send to the answer, of answered requests alone."""
        return Histogram.decode(self.service).quantile_s(q)

    def lag_s(self, q: float) -> float:
        return Histogram.decode(self.generator.lag).quantile_s(q)

    @property
    def cached_share(self) -> float | None:
        """Of the texts asked, the share whose vectors the service had from the last time; None where none was asked,
        or the service does not say."""
        return None if self.server is None else self.server.cached_share

    @property
    def cores_used(self) -> float:
        if self.server is None or self.server.cores_used is None:
            return math.nan
        return self.server.cores_used
