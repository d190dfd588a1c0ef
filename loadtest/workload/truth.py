"""Exact answers to some of the requests, and recall against them.

The exact answers come from the service itself (`params.exact`, before the load starts) or from the query file. Recall@k
is the share of the true k neighbours that were returned. Scores decide at the edge: a returned id that is not in the
list but scores no worse than the k-th true one is an equally near neighbour, not a miss. That matters with duplicates
in a corpus.

Judgements by people are the other truth: how much of what was judged relevant is among the k hits, and in which order
(nDCG, with the grades as gains and 1/log2(1 + rank) as discount, as trec_eval has it).

The interval is over queries, not over hits, because the k hits of one query succeed and fail together.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
import scipy

from loadtest.errors import WorkloadError
from loadtest.record.trial import RecallEstimate

TIE = 1e-6  # relative: half of float32's precision is lost in a dot product of 384 terms


Measure = Literal["recall", "judged recall", "ndcg"]


class Exact(msgspec.Struct, forbid_unknown_fields=True):
    """The true neighbours of one request, best first; scores may be missing when only ids are known. `ties` are as near
    as the k-th. Of judgements: what is relevant, the best first, and its grades."""

    request: int
    ids: list[str]
    scores: list[float] = []
    ties: list[str] = []


class Truth:
    """Exact answers by request number."""

    def __init__(self, answers: Iterable[Exact], k: int, measure: Measure = "recall") -> None:
        self.k = k
        self.measure = measure
        self._by_request = {answer.request: answer for answer in answers}

    def __len__(self) -> int:
        return len(self._by_request)

    def requests(self) -> list[int]:
        return sorted(self._by_request)

    def recall(self, request: int, hits: list[tuple[str, float]]) -> float | None:
        """Recall@k, or nDCG@k, of the answer (id, score) to `request`; None when its truth is not known or is empty."""
        exact = self._by_request.get(request)
        if exact is None or not exact.ids:
            return None
        if self.measure != "recall":
            ranked = list(dict.fromkeys(id_ for id_, _ in hits))[: self.k]
            relevant = dict(zip(exact.ids, exact.scores, strict=True))
            if self.measure == "ndcg":
                return _dcg([relevant.get(id_, 0.0) for id_ in ranked]) / _dcg(exact.scores[: self.k])
            return sum(id_ in relevant for id_ in ranked) / len(relevant)
        true = exact.ids[: self.k]
        wanted = {*true, *exact.ties}
        edge = math.inf
        if exact.scores:
            worst = exact.scores[len(true) - 1]
            edge = worst - TIE * max(abs(worst), 1e-3)
        found = {id_ for id_, score in hits[: self.k] if id_ in wanted or score >= edge}
        return min(len(found), len(true)) / len(true)

    def save(self, path: Path) -> None:
        path.write_bytes(
            msgspec.json.encode({"k": self.k, "measure": self.measure, "answers": list(self._by_request.values())})
        )

    @classmethod
    def load(cls, path: Path) -> Truth:
        class File(msgspec.Struct):
            k: int
            answers: list[Exact]
            measure: Measure = "recall"

        try:
            file = msgspec.json.decode(path.read_bytes(), type=File)
        except (OSError, msgspec.MsgspecError) as error:
            raise WorkloadError(f"the exact answers in {path} cannot be read: {error}") from error
        return cls(file.answers, file.k, file.measure)


def _dcg(grades: list[float]) -> float:
    return sum(grade / math.log2(rank + 2) for rank, grade in enumerate(grades))


def recall_interval(recalls: Iterable[float], k: int, measure: Measure = "recall") -> RecallEstimate | None:
    """Mean recall and its two-sided 95 % interval over queries; None without queries.

    Student's t where the queries differ. Where they are all alike (usually all 1.0) the sample says nothing of its own
    spread, and Wilson's interval for so many whole queries is taken: 100 perfect queries prove 0.963, not 1.
    """
    values = np.asarray(list(recalls), dtype=np.float64)
    n = len(values)
    if n == 0:
        return None
    mean = float(values.mean())
    z = float(scipy.special.ndtri(0.975))
    centre = (mean + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(mean * (1 - mean) / n + z * z / (4 * n * n))
    low, high = centre - half, centre + half
    spread = float(values.std(ddof=1)) if n > 1 else 0.0
    if spread > 0:
        reach = float(scipy.special.stdtrit(n - 1, 0.975)) * spread / math.sqrt(n)
        # Wilson treats a query as found or not found, which no real spread exceeds: never wider than it.
        low, high = max(mean - reach, low), min(mean + reach, high)
    return RecallEstimate(mean=mean, low=max(low, 0.0), high=min(high, 1.0), queries=n, k=k, measure=measure)
