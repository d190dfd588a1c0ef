"""What the shards serve, looked up every second: which indexes are complete, and in which generation.

An index is served in a generation that every shard has a replica of. When shards move on to another one, the router
stays with its own, which they keep for those who name it, and turns in one step once every replica has moved. No answer
is from two generations.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable, Sequence

from index.disk.root import index_of
from index.shards.plan import RULE
from service.routing.shard import RoutedShard
from service.routing.together import Looks
from service.routing.whole import RoutedIndex
from service.wire.answer.indexes import IndexInfo
from service.wire.problems import Problem

log = logging.getLogger("perwatt.service")

LOOK_EVERY_S = 1.0
PATIENCE_S = 1.0  # with a replica that is looked at


class RoutedIndexes:
    """
    Args:
        names: which indexes to serve, all when empty.
    """

    def __init__(self, shards: Sequence[RoutedShard], names: Iterable[str], count_partial: Callable[[], None]) -> None:
        self.shards = tuple(shards)
        self.failures: dict[str, str] = {}
        self._names = frozenset(names)
        self._by_name: dict[str, RoutedIndex] = {}
        self._count_partial = count_partial
        self._looks = Looks()
        self._soon = asyncio.Event()
        self._looking: asyncio.Task[None] | None = None

    @property
    def missing(self) -> str | None:
        """Why requests should not be sent here, None where they should."""
        if self.failures:
            return "; ".join(f"{name}: {why}" for name, why in sorted(self.failures.items()))
        if not self._by_name:
            return self._silent() or "no shard serves an index"
        return None

    def all(self) -> dict[str, RoutedIndex]:
        return dict(self._by_name)

    def loaded(self, index: str) -> RoutedIndex:
        """What answers for a name or a generation id; raises Problem index-not-found, generation-gone or not-ready."""
        found = self._by_name.get(index)
        if found is not None:
            return found
        name = index_of(index)
        if name in self._by_name:
            served = self._by_name[name]
            if served.id == index:
                return served
            raise Problem(
                "generation-gone", f"Generation {index} is not served; {name} is at {served.id}.", current=served.id
            )
        if index in self.failures:
            raise Problem("not-ready", f"Index {index} is not complete: {self.failures[index]}.")
        raise Problem("index-not-found", f"No index {index!r} is served here; GET /v1/indexes lists those that are.")

    async def look(self) -> None:
        """Asks every replica what it serves."""
        await asyncio.gather(*(replica.look(PATIENCE_S) for shard in self.shards for replica in shard.replicas))
        names = {name for shard in self.shards for replica in shard.replicas if replica.up for name in replica.serving}
        for name in sorted((names & self._names if self._names else names) | self._by_name.keys() | self._names):
            self._settle(name)

    def start(self) -> None:
        """Looks every second from now on, and at once when it is asked to."""
        self._looking = asyncio.get_running_loop().create_task(self._look_on())

    def look_soon(self) -> None:
        self._soon.set()

    async def reload_all(self) -> None:
        await self.look()

    def close(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
        for shard in self.shards:
            for replica in shard.replicas:
                replica.close()

    async def _look_on(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._soon.wait(), LOOK_EVERY_S)
            self._soon.clear()
            await self.look()

    def _settle(self, name: str) -> None:
        """Decides which generation of an index answers."""
        present = self._by_name.get(name)
        said: list[dict[str, IndexInfo]] = [
            {
                replica.serving[name].generation: replica.serving[name]
                for replica in shard.replicas
                if replica.up and name in replica.serving
            }
            for shard in self.shards
        ]
        complete = set(said[0]).intersection(*said[1:])
        stays = present is not None and all(shard.serving(name, present.id) for shard in self.shards)
        moved = complete if all(len(each) == 1 for each in said) else set[str]()
        if stays and not moved:  # those who have moved answer for it, too
            self.failures.pop(name, None)
            return
        if not complete:
            why = self._silent() or (
                "its shards serve different generations"
                if all(said)
                else f"{next(place for place, each in enumerate(said) if not each)} of the addresses does not serve it"
            )
            self._fail(name, why)
            return
        chosen = present.id if present is not None and stays and present.id in complete else max(complete)
        infos = [each[chosen] for each in said]
        try:
            order = _numbers(infos)
        except ValueError as error:
            self._fail(name, str(error))
            return
        if self.failures.pop(name, None) is not None:
            log.info("%s is complete", name)
        shards = [self.shards[place] for place in order]
        ordered = [infos[place] for place in order]
        if present is not None and present.id == chosen and present.shards == tuple(shards):
            present.said(ordered)
            return
        if present is not None:
            log.info("%s turns from %s to %s", name, present.id, chosen)
        told = self.failures, self._looks, self.look_soon, self._count_partial
        self._by_name[name] = RoutedIndex(shards, ordered, *told)

    def _fail(self, name: str, why: str) -> None:
        if self.failures.get(name) != why:
            self.failures[name] = why
            log.error("%s is not complete: %s", name, why)

    def _silent(self) -> str | None:
        """Why nobody answers for one of the shards; None where somebody does for all."""
        for place, shard in enumerate(self.shards):
            if not any(replica.up for replica in shard.replicas):
                said = "; ".join(f"{replica.address}: {replica.why}" for replica in shard.replicas)
                return f"address {place + 1} of {len(self.shards)} does not answer ({said})"
        return None


def _numbers(infos: Sequence[IndexInfo]) -> list[int]:
    """The places of shards 0, 1, … among what was named; raises ValueError where they do not make one index."""
    if len(infos) == 1 and infos[0].shard is None:
        return [0]  # an index in one piece, of which there may be several replicas
    places: dict[int, int] = {}
    for place, info in enumerate(infos):
        shard = info.shard
        if shard is None:
            raise ValueError(f"address {place + 1} serves an index in one piece, and no shard")
        if shard.of != len(infos):
            raise ValueError(f"it has {shard.of} shards, and {len(infos)} addresses were given")
        if shard.rule != RULE:
            raise ValueError(f"its documents go to shards by a rule that this version does not know ({shard.rule})")
        if places.setdefault(shard.number, place) != place:
            raise ValueError(
                f"addresses {places[shard.number] + 1} and {place + 1} are the same shard; replicas of one go "
                "together, with commas between them"
            )
    for what in ("dim", "metric", "id_type", "modes"):
        if len({str(getattr(info, what)) for info in infos}) > 1:
            raise ValueError(f"its shards differ in {what}")
    if len({info.model and info.model.id for info in infos}) > 1:
        raise ValueError("its shards have vectors of different models")
    return [places[number] for number in range(len(infos))]
