"""Recall of a sharded index as a whole, and the effort that it takes: what its shards find together, against what all
their rows would have given.

Each shard answers the same queries at every effort of a ladder, and exactly; who has the answers of all of them merges
them as a router does, and counts. A shard's own recall says little of that: the ten best of all are rarely the ten best
of one. So the whole needs less effort of each than each needs for itself, the less the more shards there are.

Queries are points midway between two rows (recall.py): mostly of different shards, near what questions are, and in no
shard's graph. They must find what a build asks of such points.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from index.build import ivf
from index.build.recall import HELD_OUT, K, interval, midway, midway_target
from index.disk.manifest import read_manifest
from index.search.generation import Generation
from index.search.opening import open_generation
from index.search.walk import EFFORTS

_ENOUGH = 0.9995  # of the hits of a shard alone; what more effort finds is no matter


class ShardAnswers(NamedTuple):
    """Scores of the K best of one shard, −inf where there are fewer.

    Args:
        efforts: int64 (e,), rising from the first of the ladder; none where every vector is compared anyhow.
        found: float32 (e, q, K), at each.
        own: float32 (q, K), at the effort that the shard was built for.
        exact: float32 (q, K).
    """

    efforts: NDArray[np.int64]
    found: NDArray[np.float32]
    own: NDArray[np.float32]
    exact: NDArray[np.float32]

    def write(self, file: IO[bytes]) -> None:
        np.savez(file, **self._asdict())

    @classmethod
    def read(cls, file: Path) -> Self:
        """Raises OSError, ValueError, KeyError or EOFError for what is no such file."""
        with np.load(file, allow_pickle=False) as found:
            return cls(*(found[name] for name in cls._fields))


def sample_of(shard: Generation, shards: int) -> NDArray[np.float32]:
    """Rows of a shard, evenly spread, for the queries that all are measured by: float32 (n, dim)."""
    rows = np.unique(np.linspace(0, shard.count - 1, -(-HELD_OUT // shards)).astype(int))
    return np.stack([shard.vector(row) for row in rows.tolist()])


def queries_of(samples: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Points midway between rows of the samples of all shards, float32 (q, dim), the same whoever asks."""
    found = midway(np.concatenate(samples))
    return found[np.any(found, axis=1)]


def answers(shard: Generation, queries: NDArray[np.float32]) -> ShardAnswers:
    """What a shard finds at the efforts of its family, up to one that finds nearly all."""
    exact = shard.search_rows(queries, K, exact=True).scores
    found: list[NDArray[np.float32]] = []
    ladder = {"graph": EFFORTS, "ivf": ivf.efforts(shard.count)}.get(shard.family, ())
    for effort in ladder:
        found.append(shard.search_rows(queries, K, effort).scores)
        if (found[-1] >= exact).mean() >= _ENOUGH:
            break
    efforts = np.array(ladder[: len(found)], np.int64)
    own = shard.search_rows(queries, K, shard.manifest["effort"]["default"]).scores
    return ShardAnswers(efforts, np.array(found, np.float32).reshape(len(found), *exact.shape), own, exact)


def calibrated(found: Sequence[ShardAnswers], manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What `shards.json` says of the recall of the whole, and of the effort that reaches the target.

    Args:
        found: of every shard.
        manifest: of one of them.
    """
    exact = _merged([each.exact for each in found])
    target = manifest["recall"]["target"]
    strict = manifest["family"] == "graph" and manifest["metric"] != "l2" and target > 0  # as a build of one is
    curve: list[dict[str, Any]] = []
    effort = None
    for step in _ladder(found):
        curve.append({"effort": step, **_recall(_merged([_at(each, step) for each in found]), exact)})
        reached = curve[-1]["recall"] >= midway_target(target) if strict else curve[-1]["low"] >= target
        if reached:
            effort = step
            break
    said = _recall(_merged([each.own for each in found]), exact) if effort is None else curve[-1]
    rows = "rows as their codes restore them" if manifest.get("originals") == "drop" else "rows"
    measured = {
        "recall": {
            "k": K,
            "target": target,
            **said,
            "effort": effort,
            "queries": len(exact),
            "method": f"points midway between {rows}, answers of all shards merged; Wilson interval over queries",
        }
    }
    return measured if effort is None else measured | {"effort": {"default": effort, "curve": curve}}


def measured(folders: Sequence[Path], threads: int) -> dict[str, Any]:
    """The same, of shards that lie here."""
    with ExitStack() as opened:
        shards = [opened.enter_context(open_generation(folder, threads)) for folder in folders]
        queries = queries_of([sample_of(shard, len(shards)) for shard in shards])
        return calibrated([answers(shard, queries) for shard in shards], read_manifest(folders[0]))


def _ladder(found: Sequence[ShardAnswers]) -> list[int]:
    """The efforts of all shards; none where they mean different things, or nothing."""
    ladders = [each.efforts.tolist() for each in found]
    longest: list[int] = max(ladders, key=len)
    return longest if all(longest[: len(each)] == each for each in ladders) else []


def _at(shard: ShardAnswers, effort: int) -> NDArray[np.float32]:
    """Its answers at an effort of the ladder, or at the last that it needed."""
    if not len(shard.efforts):
        return shard.exact
    scores: NDArray[np.float32] = shard.found[min(int(np.searchsorted(shard.efforts, effort)), len(shard.efforts) - 1)]
    return scores


def _merged(scores: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """The K best of all shards, best first: float32 (q, K)."""
    best: NDArray[np.float32] = -np.sort(-np.concatenate(scores, axis=1), axis=1)[:, :K]
    return best


def _recall(served: NDArray[np.float32], exact: NDArray[np.float32]) -> dict[str, Any]:
    expected = np.isfinite(exact).sum(1)
    worst = np.where(np.isfinite(exact), exact, np.inf).min(1)
    shares = np.minimum((served >= worst[:, None]).sum(1), expected) / np.maximum(expected, 1)
    low, high = interval(shares)
    return {"recall": float(shares.mean()), "low": low, "high": high}
