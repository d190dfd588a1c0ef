"""What a target is asked before the load, one question at a time: is each kind of request answered, what are the exact
answers, and what recall has an effort."""

from __future__ import annotations

import numpy as np

from loadtest.errors import TargetError
from loadtest.record.trial import RecallEstimate
from loadtest.targets.contract import SampledAnswer, Target
from loadtest.workload.requests import Workload
from loadtest.workload.truth import TIE, Exact, Truth, recall_interval


def try_each_kind(target: Target, workload: Workload) -> int:
    """One request of each kind and filter; the mean bytes of an answer. TargetError says what was refused."""
    kinds: dict[tuple[frozenset[str], int], int] = {}
    for number, query in enumerate(workload.queries):
        for variant in range(workload.variants):
            kinds.setdefault((query.carries, variant), number * workload.variants + variant)
    sizes = []
    for request in kinds.values():
        prepared = workload.prepared(request)  # the very bytes that will be sent under load
        try:
            body = target.ask(prepared, "answers one of the queries")
            target.read(body)
            sizes.append(len(body))
        except TargetError as error:
            shown = prepared.body[:200].decode("utf-8", "replace") or prepared.path
            raise TargetError(f"{error}\nThe query was {shown}") from error
    return round(sum(sizes) / len(sizes))


def sample(workload: Workload, count: int, seed: int = 0) -> list[int]:
    """`count` of the workload's requests, a seeded sample in order."""
    total = len(workload.queries) * workload.variants
    chosen = np.random.default_rng(seed).choice(total, min(count, total), replace=False)
    return [int(request) for request in np.sort(chosen)]


def exact_answers(target: Target, workload: Workload, count: int, seed: int = 0) -> Truth:
    """The target's own exact answers to `count` requests of the workload, a seeded sample, asked one by one."""
    k = workload.plan.k
    answers = []
    for request in sample(workload, count, seed):
        query = workload.query(request)
        if query.truth is not None:
            answers.append(Exact(request, query.truth))
            continue
        if target.able.compares_scores:
            hits = _search(target, workload, request, exact=True).hits
            answers.append(Exact(request, [hit.id for hit in hits], [hit.score for hit in hits]))
            continue
        # Neighbours beyond the k-th that are as near as it are looked for in the exact answer itself.
        hits = _search(target, workload, request, exact=True, k=2 * k).hits
        ties = []
        if len(hits) > k and any(hit.score for hit in hits):
            edge = hits[k - 1].score
            ties = [hit.id for hit in hits[k:] if abs(hit.score - edge) <= TIE * max(abs(edge), 1e-3)]
        answers.append(Exact(request, [hit.id for hit in hits[:k]], ties=ties))
    return Truth(answers, k)


def recall_at(target: Target, workload: Workload, truth: Truth, effort: int | None) -> RecallEstimate:
    """What the answers at `effort` are worth, without load, over all requests that `truth` knows."""
    values = []
    for request in truth.requests():
        hits = _search(target, workload, request, effort=effort).hits
        value = truth.recall(request, [(hit.id, hit.score) for hit in hits])
        if value is not None:
            values.append(value)
    found = recall_interval(values, workload.plan.k, truth.measure)
    if found is None:
        raise TargetError("no query has a non-empty exact answer, so recall cannot be measured")
    return found


def _search(
    target: Target, workload: Workload, request: int, effort: int | None = None, exact: bool = False, k: int = 0
) -> SampledAnswer:
    prepared = workload.prepared(request, effort=effort, exact=exact, k=k)
    return target.read(target.ask(prepared, "answered a search"))
