"""What the answers under load are held against: exact answers, from vectors or from the engine itself, or judgements.

Exact answers say whether an index finds what it was given to find (recall); judgements say whether people are served
(nDCG, or recall of what was judged relevant), so that search by words and hybrid search can be compared too. Of both
the lower 95 % bound is the gate.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from embed.vectors.npy import NpyVectors
from index.search.exact import search
from loadtest.errors import WorkloadError
from loadtest.experiment.config import ExperimentConfig
from loadtest.targets.contract import Target
from loadtest.targets.questions import exact_answers, sample
from loadtest.workload.qrels import judged
from loadtest.workload.requests import Workload
from loadtest.workload.truth import TIE, Exact, Truth

SEARCHED_AT_ONCE = 64  # queries; their scores over a million rows are 256 MB


class Known(NamedTuple):
    """The truth of some requests, and where it comes from, in words."""

    truth: Truth
    source: str


def known_answers(config: ExperimentConfig, target: Target, workload: Workload) -> Known | None:
    """What `config` says the answers are to be held against; None: nothing.

    Raises WorkloadError where a quality was demanded that nothing here can measure.
    """
    count = config.recall_queries
    if config.qrels is not None:
        return Known(judged(config.qrels, workload, config.measure), f"judgements of {config.qrels.name}")
    if config.measure != "recall":
        raise WorkloadError(f"--measure {config.measure} needs --qrels: the judgements of the queries")
    if config.truth is not None:
        vectors, ids = config.truth
        truth = from_vectors(vectors, ids, config.metric, workload, count)
        return Known(truth, f"exact search of {vectors.name} ({config.metric})")
    if count and target.able.exact:
        return Known(exact_answers(target, workload, count), f"the exact mode of {target.name}")
    own = [
        r for r in sample(workload, len(workload.queries) * workload.variants) if workload.query(r).truth is not None
    ]
    if count and own:
        answers = [Exact(request, workload.query(request).truth or []) for request in own]
        return Known(Truth(answers, workload.plan.k), "the file of queries")
    if config.recall_target is not None:
        why = f"{target.name} has no exact mode here" if count else "--recall-queries 0 asks for no exact answers"
        raise WorkloadError(
            f"--recall {config.recall_target:g} cannot be measured: {why}. Give --truth VECTORS.npy IDS.txt of what it "
            "holds, or --qrels FILE"
        )
    return None


def from_vectors(vectors: Path, ids: Path, metric: str, workload: Workload, count: int) -> Truth:
    """Exact answers to a sample of `count` requests without filters, from the vectors (n, dim) that the engine holds.

    Raises WorkloadError where the files do not fit each other or the queries, and where every request is filtered.
    """
    k = workload.plan.k
    names = _names(ids)
    stored = NpyVectors(vectors)
    if len(names) != stored.count:
        raise WorkloadError(f"{ids} has {len(names):,} ids and {vectors} {stored.count:,} vectors: expected as many")
    if any(query.vector is None for query in workload.queries):
        raise WorkloadError(
            '--truth needs queries with vectors (.npy, or {"vector": …} a line): exact neighbours of a text are known '
            "only to the model that embeds it. --qrels takes judgements of texts"
        )
    total = len(workload.queries) * workload.variants
    free = [request for request in sample(workload, total) if workload.filter(request) is None]
    chosen = [free[i] for i in sorted(np.random.default_rng(0).choice(len(free), min(count, len(free)), replace=False))]
    if not chosen:
        raise WorkloadError("--truth knows the neighbours of requests without filters, and there are none")
    rows = np.ascontiguousarray(stored.rows(np.arange(stored.count)), np.float32)
    answers = []
    for start in range(0, len(chosen), SEARCHED_AT_ONCE):
        part = chosen[start : start + SEARCHED_AT_ONCE]
        asked = np.array([workload.query(request).vector for request in part], np.float32)
        try:
            found = search(asked, rows, min(2 * k, len(rows)), metric)  # type: ignore[arg-type]  # of the options
        except ValueError as error:
            raise WorkloadError(f"{vectors} does not fit the queries: {error}") from error
        for request, at, scores in zip(part, found.rows, found.scores, strict=True):
            edge = float(scores[min(k, len(scores)) - 1])
            near = scores >= edge - TIE * max(abs(edge), 1e-3)
            best = [names[row] for row in at[:k]]
            answers.append(Exact(request, best, ties=[names[row] for row in at[near][k:]]))
    return Truth(answers, k)


def _names(path: Path) -> list[str]:
    try:
        return path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise WorkloadError(f"{path} cannot be read as ids, one a line: {error}") from error
