"""Recall of an index in shards is counted over what all shards find together."""

from __future__ import annotations

import numpy as np
import pytest

from index.whole_recall import K, recall_of_whole


def test_hits_that_one_shard_lacks_count_for_the_whole() -> None:
    exact = np.linspace(1, 0, 2 * K, dtype=np.float32).reshape(1, K, 2)
    even, odd = exact[:, :, 0], exact[:, :, 1]  # each shard has every other one of the best
    lossy = np.where(np.arange(K) == 1, -np.inf, even).astype(np.float32)  # loses the third best of all
    found = recall_of_whole([np.stack([lossy, even]), np.stack([odd, odd])])
    assert found["recall"] == pytest.approx(0.9)
    far = np.stack([np.where(np.arange(K) == K - 1, -np.inf, even), even]).astype(np.float32)
    assert recall_of_whole([far, np.stack([odd, odd])])["recall"] == 1.0  # its worst are not among the best of all
    few = np.full((2, 1, K), -np.inf, np.float32)
    few[:, :, :3] = 0.5
    assert recall_of_whole([few])["recall"] == 1.0
