"""The rows of a folder of vectors that belong to one shard, as a source for its build.

Where one process builds all shards, each reads all fragments and passes over what is not its own, which costs less than
a copy of all vectors would. Where many do, the rows are divided once, so that each reads only its own.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from embed.vectors.fragments import write_table
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


def divide(vectors: VectorsFolder, shards: int, folder: Path) -> list[list[dict[str, object]]]:
    """Writes the rows of each shard into a file of its own in `folder`, in their order, and returns of each shard the
    fragments as embed.json names them: one, or none where it has no row.

    All payloads, and the vectors of one shard, are in memory meanwhile.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if not vectors.count:
        return [[] for _ in range(shards)]
    table = vectors.table()
    owners = np.array([shard_of(str(id_), shards) for id_ in table.column("id").to_pylist()])
    mine = [np.flatnonzero(owners == number) for number in range(shards)]
    return [
        [write_table(folder, str(number), table.take(rows)).entry()] if len(rows) else []
        for number, rows in enumerate(mine)
    ]


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
