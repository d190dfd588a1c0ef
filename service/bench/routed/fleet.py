"""The same rows in one index and in shards, and servers of both, all on one core."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np

from index import build_generation
from index.build.sharded import publish
from index.disk.root import Root
from index.shards.plan import Shard, shard_of
from index.shards.sealed import ShardedIndex
from service.bench import contenders, race
from service.bench.contenders import HttpCase
from service.bench.process import Server

NAME = "bench"
SEARCH = f"/v1/indexes/{NAME}/search"


class Served(NamedTuple):
    server: Server
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def build_shards(place: Path, shards: int, wanted: float) -> list[Root]:
    """What `race.prepare` has built in `place`, in shards: the folders of indexes of each."""
    vectors, ids = np.load(place / "vectors.npy", mmap_mode="r"), (place / "ids.txt").read_text().split()
    index = ShardedIndex(place / "shards", NAME)
    generation, about = index.new_id(), race.model()
    owner = np.array([shard_of(id_, shards) for id_ in ids])
    for number in range(shards):
        rows = np.flatnonzero(owner == number)
        build_generation(
            vectors[rows],
            [ids[row] for row in rows],
            root=index.root_of(number, shards).folder,
            name=NAME,
            recall_target=wanted,
            payload=[{"row": row} for row in rows.tolist()],
            shard=Shard(generation, number, shards, None),
            lexical=False,
            switch=False,
            **about,
        )
    return publish(index, generation, shards, switch=True).roots


def serve(stack: ExitStack, root: Root, core: str) -> Served:
    return Served(*contenders.command(stack, f"shard {root.folder.name}", ["serve", "--root", root.folder], core))


def route(stack: ExitStack, shards: list[list[Served]], core: str) -> Served:
    named = [word for each in shards for word in ("--shard", ",".join(served.url for served in each))]
    return Served(*contenders.command(stack, "the router", ["route", *named], core))


def least_effort(served: Served, case: HttpCase) -> int:
    """With which it finds what is wanted, all shards together where there are some."""
    return contenders.least_effort(served.port, SEARCH, lambda effort: contenders.vectors_at(case, effort), case)
