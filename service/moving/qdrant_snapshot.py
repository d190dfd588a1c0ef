"""Qdrant: the snapshot of a shard, unpacked and read by Qdrant's own library for shards without a server.

The files of a snapshot change with Qdrant's versions; that library (qdrant-edge-py) knows them, and nothing else does.
What is unpacked is gone afterwards.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from embed.vectors.scratch import scratch_folder
from service.moving.rows import Collection, MovedRows, MovingError, SourceOptions

PAGE = 1000
Chosen = Callable[[str, dict[str, Any], str | None], tuple[str, dict[str, Any]]]
OF_A_SHARD = (
    "Expected the snapshot of a shard, as GET /collections/NAME/shards/0/snapshot gives it; one of a whole "
    "collection is restored by a server and read from there"
)


@contextmanager
def opened_snapshot(asked: SourceOptions, chosen: Chosen) -> Iterator[tuple[Collection, str | None]]:
    """The collection, whose metric is not filled in, and its distance in Qdrant's words.

    Args:
        chosen: Which of several vectors to take, as for a server's.

    Raises:
        MovingError: The library is not here, or the file is none that it reads.
    """
    try:
        from qdrant_edge import EdgeShard
    except ImportError:
        raise MovingError(
            "reading a snapshot of Qdrant needs the package qdrant-edge-py: pip install 'perwatt[qdrant]'"
        ) from None
    place = f"qdrant:{asked.place}"
    with scratch_folder() as folder:
        unpacked = folder / "shard"
        try:
            EdgeShard.unpack_snapshot(asked.place, str(unpacked))
            params = _params(unpacked)
            shard = EdgeShard.load(str(unpacked))
        except Exception as error:  # the library has no class of its own
            raise MovingError(f"{place} cannot be read: {str(error).splitlines()[0]}. {OF_A_SHARD}") from error
        try:
            vector, settings = chosen(place, params, asked.vector_field)
            name = place + (f", vector {vector}" if vector else "")
            yield Collection(name, partial(_read, shard, vector), shard.info().points_count), settings.get("distance")
        finally:
            shard.close()


def _params(unpacked: Path) -> dict[str, Any]:
    """The vectors that its segments have, in the shape of a server's answer."""
    for segment in sorted(unpacked.glob("segments/*/segment.json")):
        return {"vectors": json.loads(segment.read_text("utf-8"))["config"]["vector_data"]}
    raise ValueError("it holds no segment")


def _read(shard: Any, vector: str, vectors: bool) -> Iterator[MovedRows]:
    from qdrant_edge import ScrollRequest

    offset = None
    with_vector = ([vector] if vector else True) if vectors else False
    while True:
        points, offset = shard.scroll(
            ScrollRequest(offset=offset, limit=PAGE, with_payload=True, with_vector=with_vector)
        )
        found = None
        if vectors:  # "" is what the vector without a name is called beside others
            given = [point.vector for point in points]
            found = [each.get(vector or "") if isinstance(each, dict) else each for each in given]
        ids = [point.id if isinstance(point.id, int) else str(point.id) for point in points]
        records = [{"id": id_, "metadata_": point.payload or {}} for id_, point in zip(ids, points, strict=True)]
        yield MovedRows(records, found)
        if offset is None:
            return
