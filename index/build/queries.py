"""Where a query encoder is fitted to the rows of a build; who fits it is handed in, since models are not known here.

The fitter is given the texts of rows and an exact search over them. It writes its section into the generation's folder
and says what the manifest should hold of it, or writes nothing.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from index.disk.codes import Metric
from index.disk.manifest import QUERY_ENCODER
from index.search import exact
from index.search.lexical.text import texts_of
from index.search.rowfiles import Arranged

HITS = 10
_QUERIES_A_STEP = 256

Rows = NDArray[np.int64]


class FitQueries(Protocol):
    def __call__(
        self,
        folder: Path,
        count: int,
        texts_of: Callable[[Rows], Sequence[tuple[str, str]]],
        nearest: Callable[[NDArray[np.float32]], Rows],
    ) -> dict[str, Any] | None:
        """What the manifest says of the section that was written into `folder`; None where none was.

        Args:
            count: How many rows there are.
            texts_of: Title and text of rows, "" for what they lack.
            nearest: Rows of the ten best of each query vector, −1 where there are fewer, int64 (q, 10).
        """


def fit(folder: Path, arranged: Arranged, metric: Metric, threads: int, fitter: FitQueries) -> dict[str, Any]:
    """The manifest's entries on the query encoder: one, or none where the fitter leaves queries to the model."""
    vectors = arranged.vectors.array

    def texts(rows: Rows) -> list[tuple[str, str]]:
        return [texts_of(arranged.payload(row, row + 1)[0]) for row in rows.tolist()]

    def nearest(queries: NDArray[np.float32]) -> Rows:
        found = np.full((len(queries), HITS), -1, np.int64)
        for start in range(0, len(queries), _QUERIES_A_STEP):
            part = slice(start, start + _QUERIES_A_STEP)
            # Rows of a cosine index are of unit length already, as the queries are.
            top = exact.search(
                queries[part], vectors, min(HITS, len(vectors)), "l2" if metric == "l2" else "ip", threads=threads
            )
            found[part, : top.rows.shape[1]] = top.rows
        return found

    entry = fitter(folder, len(vectors), texts, nearest)
    return {} if entry is None else {QUERY_ENCODER: entry}
