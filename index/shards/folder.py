"""The rows of a folder of vectors that belong to one shard, as a source for its build.

Every shard reads all fragments and passes over what is not its own, which costs less than a copy of all vectors would.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from index.disk.vectors_folder import Batch, VectorsFolder
from index.errors import InputError
from index.shards.plan import MOST_SHARDS, shard_of


class ShardFolder(VectorsFolder):
    """Args: count: how many rows of the folder `whole` belong to shard `number` of `of`."""

    def __init__(self, whole: VectorsFolder, number: int, of: int, count: int) -> None:
        super().__init__(whole.path, whole.meta)
        self._number, self._of, self.count = number, of, count

    def check(self, threads: int) -> None:
        """Nothing is left to do: whoever counted the rows has compared every fragment with its hash."""

    def batches(self) -> Iterator[Batch]:
        for batch in super().batches():
            rows = [row for row, id_ in enumerate(batch.ids) if shard_of(str(id_), self._of) == self._number]
            if rows:
                payload = None if batch.payload is None else [batch.payload[row] for row in rows]
                yield Batch([str(batch.ids[row]) for row in rows], batch.vectors[rows], payload)


def split(vectors: VectorsFolder, shards: int, threads: int) -> list[ShardFolder]:
    """The folder as so many shards. Raises InputError where one of them would have no row, GenerationError where a
    fragment is damaged."""
    check_shards(shards)
    vectors.check(threads)
    counts = counted(vectors, shards)
    check_counts(counts)
    return [ShardFolder(vectors, number, shards, count) for number, count in enumerate(counts)]


def check_shards(shards: int) -> None:
    if not 1 <= shards <= MOST_SHARDS:
        raise InputError(f"{shards} shards were asked for; expected 1 to {MOST_SHARDS:,}")


def counted(vectors: VectorsFolder, shards: int) -> list[int]:
    """How many rows of a folder belong to each shard."""
    counts = np.zeros(shards, np.int64)
    for ids in vectors.ids():
        counts += np.bincount([shard_of(id_, shards) for id_ in ids], minlength=shards)
    return counts.tolist()


def check_counts(counts: Sequence[int]) -> None:
    """Raises InputError where a shard would have no row."""
    if 0 in counts:
        raise InputError(
            f"shard {counts.index(0)} of {len(counts)} would have no document: {sum(counts):,} are too few for so "
            "many shards"
        )
