"""What `perwatt bench ann` takes: vectors, engines by name; and what it refuses before it measures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from indexing import clustered
from numpy.typing import NDArray

from index.bench.ann.engines import ENGINES, chosen
from index.bench.ann.vectors import workload
from index.bench.errors import BenchError


def test_vectors_come_from_files_and_indexes(tmp_path: Path) -> None:
    from indexing import write_vectors_folder

    from index import Root, build_generation

    rows = clustered(1500, 16, seed=1)
    np.save(tmp_path / "rows.npy", rows.astype(np.float16))
    np.save(tmp_path / "queries.npy", rows[:20] + np.float32(0.01))
    held_out = workload(tmp_path / "rows.npy")
    assert held_out.rows.shape == (1350, 16)
    assert held_out.queries.shape == (150, 16)
    np.testing.assert_allclose(np.linalg.norm(held_out.rows, axis=1), 1, atol=1e-5)
    again = workload(tmp_path / "rows.npy")
    assert np.array_equal(held_out.queries, again.queries)
    assert held_out.key == again.key
    together = np.concatenate([held_out.rows, held_out.queries])
    assert len(np.unique(together.round(5), axis=0)) == len(np.unique(again.rows.round(5), axis=0)) + 150

    given = workload(tmp_path / "rows.npy", queries=tmp_path / "queries.npy", metric="l2", limit=1000)
    assert given.rows.shape == (1000, 16)
    assert given.key not in (held_out.key, workload(tmp_path / "rows.npy", limit=1000).key)
    assert given.queries.shape == (20, 16)
    assert np.linalg.norm(given.rows, axis=1).std() > 0.01

    build_generation(rows, np.arange(1500), root=tmp_path / "indexes", name="some", family="flat", metric="l2")
    served = workload(None, index="some", root=tmp_path / "indexes")
    assert served.metric == "l2"
    assert workload(Root(tmp_path / "indexes").path("some")).rows.shape == served.rows.shape == (1350, 16)
    folder = write_vectors_folder(tmp_path / "folder", [str(i) for i in range(1500)], rows, fragments=2)
    assert workload(folder).rows.shape == (1350, 16)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.ones((300, 8), np.float32), "too few"),
        (np.zeros((5000, 8), np.float32), "no cosine"),
    ],
)
def test_arrays_that_cannot_be_searched_are_refused(array: NDArray[Any], message: str, tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", array)
    with pytest.raises(BenchError, match=message):
        workload(tmp_path / "rows.npy")


def test_queries_of_another_width_and_two_sources_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", np.ones((2000, 8), np.float32))
    np.save(tmp_path / "queries.npy", np.ones((10, 9), np.float32))
    with pytest.raises(BenchError, match="9 dimensions, and the vectors have 8"):
        workload(tmp_path / "rows.npy", queries=tmp_path / "queries.npy")
    with pytest.raises(BenchError, match="not both"):
        workload(tmp_path / "rows.npy", index="some")


def test_engines_are_chosen_by_name() -> None:
    assert [each.name for each in chosen(["hnswlib,scann"])] == ["perwatt", "scann", "hnswlib"]
    assert chosen([]) == list(ENGINES)
    with pytest.raises(BenchError, match=r"glass is no engine; expected some of: .*hnswlib"):
        chosen(["glass"])
    assert len({each.name for each in ENGINES}) == len(ENGINES) == len({each.label for each in ENGINES})


def test_adapters_of_all_engines_can_be_found() -> None:
    import importlib

    for each in ENGINES:
        module, name = each.place.split(":")
        getattr(importlib.import_module(module), name)(**each.arguments)
