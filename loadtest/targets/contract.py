"""What a target has to be: what it can do, how a query becomes a request, and how an answer is read.

What a target cannot do is refused by `refuse` before any load is made. A request is prepared once and sent as bytes, so
nothing of a target runs while a request is timed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import msgspec

from loadtest.errors import TargetError, WorkloadError
from loadtest.record.run_record import ServiceFacts
from loadtest.workload.plan import Filter, Plan
from loadtest.workload.queries import Query
from loadtest.workload.requests import Address, Prepared, Workload

QUESTION_S = 30.0  # for an answer outside the load: exact answers take their time


class SampledHit(msgspec.Struct):
    id: str
    score: float = 0.0


class SampledUsage(msgspec.Struct):
    tokens: int | None = None
    cached: int | None = None
    cpu_ms: float | None = None
    vectors_scored: float | None = None


class SampledCoverage(msgspec.Struct):
    survivors: int | None = None
    partial: bool = False


class SampledAnswer(msgspec.Struct):
    """The parts of a search answer that an observer looks at, best hit first. What an engine does not tell stays
    None."""

    hits: list[SampledHit]
    generation: str | None = None
    model: str | None = None
    took_ms: float | None = None
    usage: SampledUsage | None = None
    coverage: SampledCoverage | None = None


class Abilities(msgspec.Struct, frozen=True):
    """What a target can be asked.

    Args:
        kinds: ways to ask it; each a set of what a query carries: "text", "vector", "id".
        filter: whether a request can carry a filter.
        effort: the engine's name of its knob for more recall at more cost; None: it has none.
        lowest_effort: below it nothing is asked.
        highest_effort: above it the engine refuses to be asked; None: it does not say.
        exact: whether it can be asked for exact answers.
        embeds: whether it makes vectors of texts, for `--send vector`.
        compares_scores: whether scores of a search can be held against those of an exact one. A quantised engine's
            cannot: an error upward would count a wrong hit as one equally near.
    """

    kinds: frozenset[frozenset[str]]
    filter: bool = True
    effort: str | None = None
    lowest_effort: int = 1
    highest_effort: int | None = None
    exact: bool = False
    embeds: bool = False
    compares_scores: bool = False


class Target(ABC):
    """An engine at the URL of a plan. `name` is what `--target` calls it."""

    name: str
    able: Abilities
    ready_path: str = "/"  # answers once the engine is ready

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.url = plan.url
        Address.parse(plan.url)  # what the load could not be sent to is refused here already

    @abstractmethod
    def prepare(
        self, query: Query, filter_: Filter | None, *, effort: int | None, exact: bool = False, k: int = 0
    ) -> Prepared:
        """The request of a query.

        Args:
            filter_: in the engine's own language; None: no filter.
            effort: None: the engine's default.
            exact: ask for the exact answer instead of the fast one.
            k: how many hits; 0: as many as the plan says.
        """

    @abstractmethod
    def read(self, body: bytes) -> SampledAnswer:
        """The hits of an answer that came with status 200. Raises TargetError for anything else than an answer."""

    @abstractmethod
    def ask(self, request: Prepared, what: str) -> bytes:
        """The body that answers `request`, asked alone and untimed.

        Raises TargetError with `what` ("answers a search") when it is refused or nobody answers.
        """

    @abstractmethod
    def alive(self) -> None:
        """Raises TargetError when nobody answers at the URL."""

    @abstractmethod
    def served(self) -> ServiceFacts:
        """Engine, version and index as the target itself tells them; what it does not tell stays None."""

    def resolved(self) -> dict[str, str]:
        """What must be asked of the engine before any request can be made, as variables of the plan."""
        return {}

    def embed(self, texts: list[str]) -> list[list[float]]:
        """The target's own vectors of `texts`."""
        raise TargetError(f"{self.name} makes no vectors of texts: give queries with vectors instead of --send vector")

    @abstractmethod
    def close(self) -> None:
        """Closes the connection for questions, if there is one."""


def refuse(target: Target, workload: Workload) -> None:
    """WorkloadError for what the target cannot be asked, before any of it is sent."""
    able, plan = target.able, workload.plan
    for number, query in enumerate(workload.queries):
        if query.carries not in able.kinds:
            ways = " or ".join(sorted("+".join(sorted(kind)) for kind in able.kinds))
            has = "+".join(sorted(query.carries))
            raise WorkloadError(
                f"{target.name} cannot be asked by {has} (query {number + 1}): it is asked by {ways}. "
                "Give other queries, or a template that asks it so"
            )
    if not able.filter and (plan.filters or any(query.filter is not None for query in workload.queries)):
        raise WorkloadError(f"{target.name} takes no filter: leave out --filter, or give a template with {{filter}}")
    if plan.effort is not None and able.effort is None:
        raise WorkloadError(
            f"{target.name} has no effort to set: leave out --effort, or give a template with {{effort}}"
        )
