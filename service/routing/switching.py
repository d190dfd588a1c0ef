"""A switch of all shards and replicas, in two phases: no answer is of two generations, and none is refused meanwhile.

    prepare   every replica opens and checks the generation beside its own; one that cannot ends the switch, and nothing
              has changed
    switch    every replica turns its name to it, and goes on answering those who name the one before
    turn      once all of them have, the router does, in one step; requests under way end with what they began with

A switch that was interrupted is ended by another to the same generation. Other routers turn when they look next.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

import msgspec

from service.routing.asking import problem_in
from service.routing.connection import Reply, Unanswered
from service.routing.indexes import RoutedIndexes
from service.routing.replica import Replica
from service.routing.shard import RoutedShard
from service.routing.whole import RoutedIndex
from service.wire.problems import Problem

log = logging.getLogger("perwatt.service")

# A replica may take so long to check every byte of a generation; one that was not there when last asked gets less.
CHECKED_S, DOWN_S = 900.0, 10.0


async def switch(indexes: RoutedIndexes, name: str, generation: str) -> RoutedIndex:
    """The index at the other generation. Raises Problem."""
    index = indexes.loaded(name)
    before = index.id
    every = [replica for shard in index.shards for replica in shard.replicas]
    prepared = await asyncio.gather(*(_tell(replica, name, generation, True) for replica in every))
    refused = [(replica, why) for replica, why in zip(every, prepared, strict=True) if why is not None]
    if refused:
        await asyncio.gather(*(_tell(replica, name, before, True) for replica in every))
        replica, why = refused[0]
        raise Problem(
            why.code,
            f"{replica.address}: {why.detail} Nothing was switched; {name} stays at {before}.",
            pointer=why.pointer,
            generation=before,
        )
    left = [
        why
        for each in await asyncio.gather(*(_turn(shard, name, generation) for shard in index.shards))
        for why in each
    ]
    await indexes.look()
    if not left and indexes.loaded(name).id != generation:
        await indexes.look()  # a replica that did not answer in time is known as it was before
    if left:
        raise Problem(
            "not-ready",
            f"{len(every) - len(left)} of {len(every)} replicas are at {generation}, and {left[0]} {name} answers from "
            f"{indexes.loaded(name).id}; the same switch again ends it.",
            generation=indexes.loaded(name).id,
        )
    return indexes.loaded(name)


async def _turn(shard: RoutedShard, name: str, generation: str) -> Sequence[str]:
    """Why replicas of a shard are not at the generation. One after the other: those of one folder share an alias."""
    left = []
    for replica in shard.replicas:
        why = await _tell(replica, name, generation, False)
        if why is not None:
            left.append(f"{replica.address} is not ({why.detail})")
    return left


async def _tell(replica: Replica, name: str, generation: str, prepare: bool) -> Problem | None:
    """Why a replica does not do it."""
    body = msgspec.json.encode({"generation": generation, "prepare": prepare})
    patience_s = CHECKED_S if replica.up else DOWN_S
    try:
        reply: Reply = await asyncio.wait_for(replica.ask("PUT", f"/v1/aliases/{name}", body), patience_s)
    except TimeoutError:
        return Problem("not-ready", f"It did not answer within {patience_s:g} s.")
    except Unanswered as error:
        return Problem("not-ready", f"It did not answer ({error}).")
    if reply.status == 200:
        return None
    problem = problem_in(reply)
    if reply.status in (401, 403):
        return Problem("forbidden", f"It does not let the router switch: {problem.detail}")
    return problem
