"""An index that benchmarks of servers fill and search over HTTP, and a server that has it, empty:

    python -m service.judges.served 384 cosine id:int label:keyword --port 8000

It is for vectors of so many dimensions, of that metric, and filters may name those fields. What a benchmark loads is
written as any program writes, and built in by a rebuild; both are in its loading time.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import ArrayLike

from service.integrations.documents import IndexDocuments
from service.processes import native_threads

NAME, URL = "judged", "http://127.0.0.1:8000"
METRICS = ("cosine", "ip", "l2")
LOOK_S = 0.1  # between looks at a rebuild
# The index begins with one row, beside which any other is slow to search; no such comparison is made.
REBUILDS = "max_slowdown = 1e9\nkeep = 0\nthreads = {threads}\n"


class ServedIndex:
    """The index of a server that was started as above.

    Args:
        options: of `Client`.
    """

    def __init__(self, url: str = URL, *, key: str | None = None, **options: Any) -> None:
        self._documents = IndexDocuments(url, NAME, key=key, text_key="text", **options)
        self._url = url

    def begin(self, dim: int, metric: str, fields: Iterable[str] = ()) -> None:
        """Deletes every document.

        Args:
            fields: FIELD:TYPE, that filters are to name.

        Raises:
            ValueError: The index is for other vectors, or lacks a field.
        """
        info = self._documents.client.index(NAME)
        there = {f"{name}:{field.type}" for name, field in info.filterable.items()}
        if (info.dim, info.metric) != (dim, metric) or not there.issuperset(fields):
            raise ValueError(
                f"The index at {self._url} is for {info.dim} dimensions and {info.metric}, with the fields "
                f"{sorted(there)}. For this data, start: "
                f"{' '.join(['python -m service.judges.served', str(dim), metric, *fields])}"
            )
        self._documents.clear()

    def put(
        self, ids: Sequence[int], vectors: Sequence[ArrayLike], payloads: Sequence[Mapping[str, Any]] | None = None
    ) -> None:
        """Raises ValueError where the server refused some; the others are written."""
        self._documents.put(
            {"id": str(id_), "vector": np.asarray(vector, np.float32), "payload": payload}
            for id_, vector, payload in zip(ids, vectors, payloads or [{}] * len(ids), strict=True)
        )

    def settle(self) -> None:
        """Builds what was written into the index; raises RuntimeError where that failed."""
        client = self._documents.client
        now = client.start_rebuild(NAME)
        while now.state == "running":
            time.sleep(LOOK_S)
            now = client.rebuild(now.id)
        if now.state != "succeeded":
            raise RuntimeError(f"The rebuild was {now.state}: {now.detail}")

    def search(
        self, vector: ArrayLike, k: int, *, filter: Mapping[str, Any] | None = None, effort: int | None = None
    ) -> list[tuple[int, float]]:
        """The ids and scores of the best k, best first."""
        params = None if effort is None else {"effort": effort}
        found = self._documents.search(
            vector=np.asarray(vector, np.float32), k=k, filter=filter, params=params, fields=[]
        )
        return [(int(hit.id), hit.score) for hit in found.hits]

    def close(self) -> None:
        self._documents.client.close()


def make_empty(root: Path, dim: int, metric: Any, fields: Sequence[str]) -> None:
    """An index has a row at least; the first thing a benchmark does is to delete it."""
    from index import build_generation
    from index.search.fields.columns import parse_fields

    build_generation(
        np.eye(1, dim, dtype=np.float32), ["-1"], root=root, name=NAME, metric=metric, lexical=False,
        filterable=parse_fields(fields),
    )  # fmt: skip


@click.command()
@click.argument("dim", type=click.IntRange(1))
@click.argument("metric", type=click.Choice(METRICS))
@click.argument("fields", nargs=-1, metavar="[FIELD:TYPE]...")
@click.option("--port", type=int, default=8000, show_default=True)
def main(dim: int, metric: str, fields: tuple[str, ...], port: int) -> None:
    """Serve an empty index for vectors of DIM dimensions, which is gone when the server ends."""
    native_threads.pin()
    from embed.encoders.backends import usable_cores
    from embed.vectors.scratch import scratch_folder
    from service.cli.serve import serve

    with scratch_folder() as folder:
        make_empty(folder / "indexes", dim, metric, fields)
        rebuilds = folder / "rebuilds.toml"
        rebuilds.write_text(REBUILDS.format(threads=usable_cores()))
        serve.main(
            ["--root", str(folder / "indexes"), "--port", str(port), "--rebuilds", str(rebuilds)],
            standalone_mode=False,
        )


if __name__ == "__main__":
    main()
