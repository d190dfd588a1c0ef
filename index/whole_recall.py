"""Recall of a sharded index as a whole: what its shards find together, against what all their rows would have given.

Each shard answers the same queries twice, as it is served and exactly; who has the answers of all of them merges them
as a router does, and counts. A shard's own recall says little of that: the ten best of all are rarely the ten best of
one.

Queries are points midway between two rows (recall.py): mostly of different shards, near what questions are, and in no
shard's graph.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from index.build.recall import HELD_OUT, K, interval, midway
from index.search.generation import Generation, open_generation


def queries_of(folders: Sequence[Path], threads: int) -> NDArray[np.float32]:
    """Points midway between rows of the shards in `folders`, float32 (q, dim), the same whoever asks."""
    with ExitStack() as opened:
        shards = [opened.enter_context(open_generation(folder, threads)) for folder in folders]
        each = -(-HELD_OUT // len(shards))
        rows = [np.unique(np.linspace(0, shard.count - 1, each).astype(int)).tolist() for shard in shards]
        vectors = [shard.vector(row) for shard, some in zip(shards, rows, strict=True) for row in some]
    found = midway(np.stack(vectors))
    return found[np.any(found, axis=1)]


def answers(shard: Generation, queries: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scores of the K best as the shard is served, and exactly: float32 (2, q, K), −inf where there are fewer."""
    return np.stack([shard.search_rows(queries, K, exact=exact).scores for exact in (False, True)])


def recall_of_whole(found: Sequence[NDArray[np.float32]]) -> dict[str, Any]:
    """As `shards.json` has it, from the answers of all shards."""
    merged = -np.sort(-np.concatenate(found, axis=2), axis=2)[:, :, :K]
    served, exact = merged
    expected = np.isfinite(exact).sum(1)
    worst = np.where(np.isfinite(exact), exact, np.inf).min(1)
    shares = np.minimum((served >= worst[:, None]).sum(1), expected) / np.maximum(expected, 1)
    low, high = interval(shares)
    return {
        "k": K,
        "recall": float(shares.mean()),
        "low": low,
        "high": high,
        "queries": len(shares),
        "method": "points midway between rows, answers of all shards merged; Wilson interval over queries",
    }
