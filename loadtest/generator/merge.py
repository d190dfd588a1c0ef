"""Parts of several generators become one trial: counts and histograms add, and how each fared is kept beside."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from loadtest.generator.samples import Sampled
from loadtest.generator.session import Part, slice_length_s
from loadtest.record.histogram import Histogram
from loadtest.record.trial import GeneratorFacts, LocustView, OneGenerator, ServerSide, Slice, Trial
from loadtest.workload.plan import Plan
from loadtest.workload.truth import recall_interval


class Member(NamedTuple):
    """Whose a part is, in words, and of which machine; empty: the master's."""

    name: str
    machine: str


def merged(encoded: list[str]) -> str:
    return Histogram.merged(Histogram.decode(text) for text in encoded).encode()


def merge_parts(
    plan: Plan,
    parts: list[Part],
    window_s: float,
    started_at: str,
    locust: LocustView | None = None,
    members: Sequence[Member] = (),
    lost: Sequence[str] = (),
) -> Trial:
    """The trial that the parts are the whole of; checks and what was watched from outside are added by the caller.

    Args:
        members: whose the parts are, where they are several.
        lost: whose part is not there, in words.
    """
    errors: Counter[str] = Counter()
    for part in parts:
        errors.update(part.errors)
    planned = sum(part.planned for part in parts)
    shed = sum(part.shed for part in parts)
    missed = sum(part.missed for part in parts)
    # Of the window that was planned: one that was ended early has fewer slices, and not shorter ones.
    length_s = slice_length_s(float(math.ceil(plan.duration_s))) if plan.duration_s else 60.0
    slices = []
    for i in range(min(len(part.slices) for part in parts)):
        rows = [part.slices[i] for part in parts]
        slices.append(
            Slice(
                start_s=i * length_s,
                planned=sum(row[0] for row in rows),
                answered=sum(row[1] for row in rows),
                unanswered=sum(row[2] for row in rows),
                response=merged([row[3] for row in rows]),
            )
        )
    recalls: dict[int, float] = {}
    for part in parts:
        recalls.update(part.sampled.recalls)
    return Trial(
        role=plan.role,
        offered_qps=plan.rate_qps if plan.rate_qps else planned / window_s,
        window_s=window_s,
        slice_s=length_s,
        started_at=started_at,
        seed=plan.seed,
        effort=plan.effort,
        planned=planned,
        sent=planned - shed - missed,
        shed=shed,
        missed=missed,
        answered=sum(part.answered for part in parts),
        errors=dict(sorted(errors.items())),
        response=merged([part.response for part in parts]),
        service=merged([part.service for part in parts]),
        slices=slices,
        generator=GeneratorFacts(
            processes=len(parts),
            cpu=[part.cpu for part in parts],
            lag=merged([part.lag for part in parts]),
            stall=merged([part.stall for part in parts]),
            max_in_flight=plan.max_in_flight,
            priority=" and ".join(sorted({part.priority for part in parts})),
            each=_each(members, parts) if len(parts) + len(lost) > 1 else [],
            lost=list(lost),
        ),
        server=_server(parts),
        recall=recall_interval(recalls.values(), plan.k, parts[0].sampled.measure),
        locust=locust,
    )


def _each(members: Sequence[Member], parts: Sequence[Part]) -> list[OneGenerator]:
    return [
        OneGenerator(member.name, part.planned, part.missed, part.lag, part.stall, member.machine, part.apart_ms)
        for member, part in zip(members, parts, strict=True)
    ]


def _stages(sampled: list[Sampled]) -> list[str]:
    return list(dict.fromkeys(name for each in sampled for name in each.stages_ms))


def _server(parts: list[Part]) -> ServerSide | None:
    sampled = [part.sampled for part in parts]
    if not any(s.count for s in sampled):
        return None

    def mean(sums: list[list[float]]) -> float | None:
        count = sum(s[1] for s in sums)
        return sum(s[0] for s in sums) / count if count else None

    return ServerSide(
        sampled=sum(s.count for s in sampled),
        took=merged([s.took for s in sampled]),
        service=merged([s.service for s in sampled]),
        cpu_ms_mean=mean([s.cpu_ms for s in sampled]),
        vectors_scored_mean=mean([s.scored for s in sampled]),
        tokens_mean=mean([s.tokens for s in sampled]),
        cached_share=mean([s.cached for s in sampled]),
        stages_ms={
            name: value
            for name in _stages(sampled)
            if (value := mean([s.stages_ms[name] for s in sampled if name in s.stages_ms])) is not None
        },
        generations=sorted({g for s in sampled for g in s.generations}),
        models=sorted({m for s in sampled for m in s.models}),
        short_answers=sum(s.short + s.unreadable for s in sampled),
        partial_answers=sum(s.partial for s in sampled),
        unreadable=sum(s.unreadable for s in sampled),
    )
