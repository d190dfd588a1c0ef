"""What an index costs in S shards, beside the same corpus in fewer.

A search costs about as much in each of S shards as in an index in one piece, since a graph search takes logarithmically
many steps. So queries per CPU second, per joule and per dollar are expected to fall as 1/S, as far as each counts all
that answers: the router, and every shard's servers. Replicas share the queries and cost none by themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from loadtest import units
from loadtest.analysis.compare import same_question
from loadtest.analysis.ratio import geometric_mean
from loadtest.analysis.reading import Reading
from loadtest.errors import RecordError
from loadtest.record.run_record import ServiceFacts


class AgainstFewest(NamedTuple):
    """A quantity of all records of one S: its geometric mean, that against the fewest shards', and 1/S against it."""

    value: float
    ratio: float
    expected: float


class Sharded(NamedTuple):
    """The records of one S. measured: by the names of QUANTITIES, those that all records of every S have."""

    shards: int
    routed: bool
    replicas: str
    servers: int
    arms: list[str]
    runs: int
    measured: dict[str, AgainstFewest]

    @property
    def name(self) -> str:
        return f"{self.shards}" if self.routed else f"{self.shards}, no router"


def per_cpu_second(run: Reading) -> float | None:
    """Queries a second of CPU time of all that answers; None where some of it was not seen."""
    trial = run.trial
    if run.invalid or run.record.unseen or trial is None or not trial.cores_used > 0:
        return None
    return trial.achieved_qps / trial.cores_used


# In the order in which the first that is known decides.
QUANTITIES: dict[str, Callable[[Reading], float | None]] = {
    "a CPU second": per_cpu_second,
    "a joule": lambda run: run.per_joule.mid if run.per_joule.evidence == "measured" else None,
    "a dollar": lambda run: run.per_dollar if run.record.knee is not None else None,  # a fixed rate shows no capacity
    "a second": lambda run: run.capacity.qps if run.capacity and run.record.knee is not None else None,
}


def place(run: Reading) -> tuple[int, bool]:
    """S, and whether a router answered."""
    served = run.record.served
    return (1, False) if served is None else (served.shards, served.replicas is not None)


def replicas_in_words(served: ServiceFacts | None) -> str:
    """R: "2", or "1 to 2" where shards have unlike many."""
    replicas = (served.replicas if served is not None else None) or [1]
    return units.spread(min(replicas), max(replicas), lambda value: f"{value:g}")


def several_shardings(runs: Sequence[Reading]) -> bool:
    """Whether the records differ in S."""
    return len({place(run)[0] for run in runs}) > 1


def by_shards(runs: Sequence[Reading]) -> list[Sharded]:
    """The fewest shards first, without a router before with one. Raises RecordError where the records asked different
    questions, of different corpora, or where one is invalid."""
    same_question(runs, bytewise=False)
    for run in runs:
        if run.invalid:
            raise RecordError(f"{run.place} is invalid: {run.invalid[0]}")
    groups: dict[tuple[int, bool], list[Reading]] = {}
    for run in sorted(runs, key=place):
        groups.setdefault(place(run), []).append(run)
    known = {name: of for name, of in QUANTITIES.items() if all(of(run) for run in runs)}
    if len({run.per_joule.domain for run in runs}) > 1:
        known.pop("a joule", None)
    means = {name: [geometric_mean([of(run) or 0.0 for run in group]).estimate for group in groups.values()]
             for name, of in known.items()}  # fmt: skip
    fewest = min(shards for shards, _ in groups)
    found = []
    for number, ((shards, routed), group) in enumerate(groups.items()):
        served = group[0].record.served
        found.append(
            Sharded(
                shards=shards,
                routed=routed,
                replicas=replicas_in_words(served),
                servers=1 + served.servers if served is not None and routed else 1,
                arms=list(dict.fromkeys(run.arm for run in group)),
                runs=len(group),
                measured={
                    name: AgainstFewest(values[number], values[number] / values[0], fewest / shards)
                    for name, values in means.items()
                },
            )
        )
    return found
