"""Recall of an index in shards, and the effort that it takes, are counted over what all shards find together."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from indexing import write_vectors_folder
from numpy.typing import NDArray

from index import GenerationError, VectorsFolder, open_generation
from index.build.recall import midway_target
from index.build.sharded import build_sharded
from index.disk.sealed import SEAL, write_sealed
from index.disk.whole import SHARDS_FILE, file_of_whole
from index.search.generation import Generation
from index.shards.sealed import ShardedGeneration
from index.shards.together import ShardRows
from index.whole_recall import K, ShardAnswers, calibrated, measured, queries_of, sample_of

TARGET, DIM, SHARDS = 0.9, 64, 3
MANIFEST = {"recall": {"target": TARGET}, "family": "graph", "metric": "ip"}
NO_EFFORTS = np.array([], np.int64)


def as_built(own: NDArray[np.float32], exact: NDArray[np.float32]) -> ShardAnswers:
    return ShardAnswers(NO_EFFORTS, np.empty((0, *exact.shape), np.float32), own, exact)


def recall(*found: ShardAnswers) -> float:
    said = calibrated(found, MANIFEST)
    assert (said["recall"]["effort"], "effort" in said) == (None, False)
    return float(said["recall"]["recall"])


def test_hits_that_one_shard_lacks_count_for_the_whole() -> None:
    exact = np.linspace(1, 0, 2 * K, dtype=np.float32).reshape(1, K, 2)
    even, odd = exact[:, :, 0], exact[:, :, 1]  # each shard has every other one of the best
    lossy = np.where(np.arange(K) == 1, -np.inf, even).astype(np.float32)  # loses the third best of all
    assert recall(as_built(lossy, even), as_built(odd, odd)) == pytest.approx(0.9)
    far = np.where(np.arange(K) == K - 1, -np.inf, even).astype(np.float32)
    assert recall(as_built(far, even), as_built(odd, odd)) == 1.0  # its worst are not among the best of all
    few = np.full((1, K), -np.inf, np.float32)
    few[:, :3] = 0.5
    assert recall(as_built(few, few)) == 1.0


def test_answers_are_written_and_efforts_of_two_kinds_are_not_compared(tmp_path: Path) -> None:
    scores = np.linspace(1, 0, K, dtype=np.float32).reshape(1, K)
    poor = np.where(np.arange(K) < 5, scores, -np.inf).astype(np.float32)
    graph = ShardAnswers(np.array([10, 25]), np.stack([poor, scores]), scores, scores)
    with (tmp_path / "a.npz").open("wb") as file:
        graph.write(file)
    back = ShardAnswers.read(tmp_path / "a.npz")
    assert [array.tolist() for array in back] == [array.tolist() for array in graph]
    assert calibrated([back, as_built(poor - 2, poor - 2)], MANIFEST)["effort"]["default"] == 25  # the other is flat
    lists = ShardAnswers(np.array([1, 2]), np.stack([poor, scores]), scores, scores)
    assert "effort" not in calibrated([graph, lists], MANIFEST)


@pytest.fixture(scope="module")
def sharded(tmp_path_factory: pytest.TempPathFactory) -> ShardedGeneration:
    """Rows that are near to nothing, so that it takes effort to find what is nearest."""
    folder, rows = tmp_path_factory.mktemp("hard"), 1800
    vectors = np.random.default_rng(7).standard_normal((rows, DIM)).astype(np.float32)
    source = VectorsFolder(write_vectors_folder(folder / "v", [f"d{row}" for row in range(rows)], vectors))
    return build_sharded(
        source, SHARDS, root=folder, name="docs", family="graph", profile="compact", lexical=False, metric="cosine",
        recall_target=TARGET, measure=measured,
    )  # fmt: skip


@pytest.fixture(scope="module")
def opened(sharded: ShardedGeneration) -> Iterator[list[Generation]]:
    with ExitStack() as closed:
        yield [closed.enter_context(open_generation(root.path("docs"))) for root in sharded.roots]


def test_the_effort_is_the_least_by_which_all_shards_together_reach_the_target(
    sharded: ShardedGeneration, opened: list[Generation]
) -> None:
    said, rows = sharded.content, ShardRows(opened, integers=False)
    effort = said["effort"]["default"]
    queries = queries_of([sample_of(shard, SHARDS) for shard in opened])
    best = rows.search_rows(queries, K, exact=True).rows

    def together(effort: int | None) -> float:
        found = rows.search_rows(queries, K, effort).rows
        return float(np.mean([len(set(some) & set(all_)) / K for some, all_ in zip(found, best, strict=True)]))

    assert together(effort) >= midway_target(TARGET) > together(effort // 2)
    assert said["recall"]["effort"] == effort
    assert said["recall"]["recall"] == pytest.approx(together(effort))
    assert [shard.default_effort for shard in opened] == [effort] * SHARDS
    assert together(None) == together(effort)


def test_what_a_shard_knows_of_the_whole_is_checked(sharded: ShardedGeneration, opened: list[Generation]) -> None:
    path = file_of_whole(opened[0].path)
    whole = path.read_bytes()
    assert whole == (sharded.path / SHARDS_FILE).read_bytes()
    content = {key: value for key, value in sharded.content.items() if key != SEAL}
    try:
        path.write_bytes(whole.replace(b'"default": ', b'"default": 1'))
        with pytest.raises(GenerationError, match="is damaged"):
            open_generation(opened[0].path)
        for wrong in ({"shards": content["shards"][::-1]}, {"effort": {"default": 0}}):
            write_sealed(path, content | wrong)
            with pytest.raises(GenerationError, match=r"is not of this shard|which effort is served"):
                open_generation(opened[0].path)
    finally:
        path.write_bytes(whole)
