"""The module of ann-benchmarks, and of VIBE, which took its shape over; `config.yml` beside it says how it is run.

Searched in this process by one thread, as the other modules are; what HTTP costs is not in its figures.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from embed.vectors.provenance import peak_rss_bytes
from embed.vectors.scratch import scratch_folder
from index import Generation, build_generation, open_generation

METRICS: dict[str, Literal["cosine", "ip", "l2"]] = {
    "angular": "cosine",
    "euclidean": "l2",
    "ip": "ip",
    "cosine": "cosine",
    "normalized": "ip",
}


class PerwattAnn:
    """metric: as the benchmark calls it; family: as `perwatt build --family`."""

    def __init__(self, metric: str, family: str = "auto") -> None:
        if metric not in METRICS:
            raise ValueError(f"perwatt has no metric {metric!r}; there are: {', '.join(METRICS)}")
        self.metric, self.family = METRICS[metric], family
        self.effort: int | None = None
        self._opened = ExitStack()
        self._index: Generation | None = None
        self._found: NDArray[Any] = np.empty((0, 0), np.int64)

    def fit(self, X: NDArray[Any]) -> None:  # noqa: N803 – the name that the benchmark has for it
        """float (n, dim); a hit is named by its row."""
        folder = self._opened.enter_context(scratch_folder())
        path = build_generation(
            np.ascontiguousarray(X, np.float32), list(range(len(X))), root=folder, name="judged", metric=self.metric,
            family=self.family, lexical=False, recall_target=0.0,
        )  # fmt: skip
        self._index = self._opened.enter_context(open_generation(path, threads=1))

    def set_query_arguments(self, effort: int) -> None:
        self.effort = effort

    def query(self, q: NDArray[Any], n: int) -> NDArray[Any]:
        """The rows of the best n, best first."""
        found: NDArray[Any] = self._search(q[None], n)[0]
        return found

    def batch_query(self, X: NDArray[Any], n: int) -> None:  # noqa: N803
        self._found = self._search(X, n)

    def get_batch_results(self) -> NDArray[Any]:
        return self._found

    def get_memory_usage(self) -> float:
        """In kB."""
        return peak_rss_bytes() / 1024

    def get_additional(self) -> dict[str, Any]:
        return {} if self._index is None else {"family": self._index.family}

    def done(self) -> None:
        self._opened.close()

    def _search(self, queries: NDArray[Any], n: int) -> NDArray[Any]:
        assert self._index is not None, "the benchmark calls fit first"
        ids, _scores = self._index.search(np.ascontiguousarray(queries, np.float32), n, effort=self.effort)
        return np.asarray(ids)

    def __str__(self) -> str:
        return f"perwatt({self.family}, effort={self.effort})"
