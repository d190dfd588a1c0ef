"""The indexes that are served: each name with the one generation that answers for it, and how that is replaced.

A new generation is opened, verified and warmed beside the old one, on another thread, while requests run. Only when it
has passed every check does the name point to it, and only then does an admin call write the alias on disk. A generation
that fails changes nothing: the old one keeps answering, and the reason is in the log, in `/readyz` and in the answer to
the caller who asked for the switch.

Where an index is one of several that are switched together, a generation may be prepared: it is opened and checked
beside the one that answers, and answers those who name it. The one before a switch stays for those who go on naming it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from index import Alias, ConflictError, IndexingError, Root
from index.disk.root import index_of
from service.errors import LoadError
from service.query.loading import fitted_of, open_checked
from service.query.served_generation import ServedGeneration
from service.tuned.kept import read_default
from service.wire.default_search import DefaultSearch
from service.wire.problems import Problem

if TYPE_CHECKING:
    from embed import Encoder

log = logging.getLogger("perwatt.service")

FORMER_S = 30.0  # since somebody last named it


class IndexRegistry:
    """`load_all` before the event loop runs; everything else on its thread."""

    missing = None  # why requests should not be sent here; what was refused at first ends the process

    def __init__(
        self, root: Root, names: Iterable[str], encoder: Encoder | None, threads: int, query_encoder: str = "auto"
    ) -> None:
        self.root = root
        self.names = tuple(names)
        self.failures: dict[str, str] = {}  # name → why its last reload was refused
        self._encoder, self._query_encoder = encoder, query_encoder
        self._threads = threads
        self._search_thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="search")
        self._by_name: dict[str, ServedGeneration] = {}
        self._prepared: dict[str, ServedGeneration] = {}
        self._former: list[ServedGeneration] = []
        self._exchanging = {name: asyncio.Lock() for name in self.names}

    def load_all(self) -> None:
        """Loads the current generation of every name; raises LoadError for the first that is
        refused."""
        for name in self.names:
            self._by_name[name] = self._load(self._path(name))

    def start(self) -> None:
        """The event loop runs; there is nothing to begin."""

    def loaded(self, index: str) -> ServedGeneration:
        """What answers for a name or a generation id; raises Problem index-not-found or
        generation-gone."""
        loaded = self._by_name.get(index)
        if loaded is not None:
            return loaded
        for candidate in self._open():
            if candidate.id == index:
                candidate.named_s = time.monotonic()
                return candidate
        name = index_of(index)
        if name in self._by_name:
            raise Problem(
                "generation-gone",
                f"Generation {index} is not served; {name} is at {self._by_name[name].id}.",
                current=self._by_name[name].id,
            )
        raise Problem(
            "index-not-found",
            f"No index {index!r} is served here; GET /v1/indexes lists those that are.",
        )

    def written(self, index: str) -> tuple[int, int]:
        """Documents that were written since the served generation, and those that it has; (0, 0) where none is."""
        loaded = self._by_name.get(index)
        if loaded is None:
            return 0, 0
        delta = loaded.follower.delta
        return 0 if delta is None else delta.count, loaded.count

    def folded(self, index: str) -> bool:
        """Whether the served generation holds every change; False where none is served."""
        loaded = self._by_name.get(index)
        return loaded is not None and loaded.follower.folded

    def all(self) -> dict[str, ServedGeneration]:
        return dict(self._by_name)

    def beside(self, name: str) -> list[str]:
        """Ids of generations that answer those who name them, besides the one that the name stands for."""
        return sorted(each.id for each in self._open() if each.name == name and each is not self._by_name[name])

    def alias(self, name: str) -> Alias:
        """The alias as it stands on disk; raises Problem index-not-found for a name that is not
        served."""
        if name not in self._by_name:
            raise Problem(
                "index-not-found",
                f"No alias {name!r} is served here; GET /v1/indexes lists those that are.",
            )
        return self._alias(name)

    async def reload_all(self) -> None:
        """Follows every alias to where it points now; refusals are logged and kept in
        `failures`."""
        for name in self.names:
            await self.follow(name)

    async def catch_up(self) -> None:
        """As `reload_all`, of those aliases that point elsewhere."""
        for name in self.names:
            with contextlib.suppress(LoadError):
                if (await asyncio.to_thread(self._alias, name)).generation != self._by_name[name].id:
                    await self.reload(name)

    async def follow(self, name: str) -> None:
        """Like `reload`, but raises nothing for a failure; does nothing for a name that is not served."""
        if name in self._by_name:
            with contextlib.suppress(LoadError):
                await self.reload(name)

    async def reload(self, name: str) -> ServedGeneration:
        """Serves the generation the alias points to; raises LoadError and keeps the old one if it
        is not fit."""
        async with self._exchanging[name]:
            return await self._exchange(name, None, lambda: None)

    async def prepare(self, name: str, generation: str) -> ServedGeneration:
        """Opens and checks `generation` beside the one that answers, so that a switch to it takes no time. Only one is
        prepared; of the one that answers already nothing is, and what was is dropped.

        Raises LoadError: it is not fit, and what was prepared before still is where it was named wrongly.
        """
        if index_of(generation) != name:
            raise LoadError(f"{generation!r} is not the id of a generation of {name}.")
        async with self._exchanging[name]:
            path = await asyncio.to_thread(self._path, name, generation)
            served = self._by_name[name]
            served.named_s = time.monotonic()  # by the one who prepares
            there = next((each for each in self._open() if each.id == generation), None)
            if there is not None:
                there.named_s = time.monotonic()
            if there is None or there is served:
                self._drop_prepared(name)
            if there is None:
                there = self._prepared[name] = await asyncio.to_thread(self._load, path)
                log.info("%s is prepared to switch from %s to %s", name, served.id, generation)
            return there

    def keep_up(self) -> None:
        """Looks for changes that were written elsewhere: where nobody searches, nobody else does."""
        for each in self._by_name.values():
            each.follower.now()

    def release(self) -> None:
        """Closes generations that were served before, once nobody has named them for a while."""
        now_s = time.monotonic()
        for each in [each for each in self._former if now_s - each.named_s > FORMER_S]:
            self._former.remove(each)
            each.retire()

    async def switch(self, name: str, generation: str, etags: Collection[str] | None) -> ServedGeneration:
        """Checks `generation`, points the alias to it, serves it.

        Raises LoadError (nothing has changed) or Problem precondition-failed when the alias on disk
        has none of `etags`, be it before or after the new generation was loaded.
        """
        if index_of(generation) != name:  # also keeps a path from being smuggled in
            raise LoadError(f"{generation!r} is not the id of a generation of {name}.")
        async with self._exchanging[name]:
            alias = self.alias(name)
            if etags is not None and alias.etag not in etags:
                raise _changed(name, alias)

            def write() -> None:
                if alias.generation != generation:
                    self.root.switch(name, generation, expect_etag=alias.etag)

            try:
                return await self._exchange(name, generation, write)
            except ConflictError:
                raise _changed(name, self.alias(name)) from None
            except IndexingError as error:
                raise LoadError(f"The alias could not be written: {error}", "internal") from error

    def close(self) -> None:
        self._search_thread.shutdown(wait=True, cancel_futures=True)
        for loaded in self._open():
            loaded.retire()

    def _open(self) -> Iterator[ServedGeneration]:
        yield from self._by_name.values()
        yield from self._prepared.values()
        yield from self._former

    def _drop_prepared(self, name: str) -> None:
        prepared = self._prepared.pop(name, None)
        if prepared is not None:
            prepared.retire()

    def _leave(self, old: ServedGeneration) -> None:
        """Its name stands for another one now. It stays open where it is a shard, or was named a moment ago: whoever
        asks several servers turns to the other one only when all of them have."""
        if "shard" in old.generation.manifest or time.monotonic() - old.named_s <= FORMER_S:
            old.named_s = time.monotonic()
            self._former.append(old)
        else:
            old.retire()

    async def _exchange(self, name: str, generation: str | None, write: Callable[[], None]) -> ServedGeneration:
        """`generation` None: the one the alias points to. `write` is called once the new one is
        found fit."""
        old = self._by_name[name]
        new = old
        path = None
        try:
            path = await asyncio.to_thread(self._path, name, generation)
            default = await asyncio.to_thread(self._default, name)
            if path.name != old.id:
                new = next((each for each in self._open() if each.id == path.name), old)
                if new is old:
                    new = await asyncio.to_thread(self._load, path)
        except LoadError as error:
            if path is not None or generation is None:  # else an admin has mistyped: nothing is wrong here
                self.failures[name] = str(error)
                log.error("%s stays at %s: %s", name, old.id, error)
            raise
        new.named_s = math.inf  # until it is switched to: it may be a former one, which is released meanwhile
        try:
            await asyncio.to_thread(write)
        except BaseException:
            if new not in self._open():
                new.retire()
            raise
        finally:
            new.named_s = time.monotonic()
        self.failures.pop(name, None)
        new.searched_by(default)
        if new is not old:
            if self._prepared.get(name) is new:
                del self._prepared[name]
            else:
                self._drop_prepared(name)
            self._former = [each for each in self._former if each is not new]
            self._by_name[name] = new
            self._leave(old)
            log.info("%s switched from %s to %s", name, old.id, new.id)
        return new

    def _load(self, path: Path) -> ServedGeneration:
        opened = open_checked(path, self._encoder, self._threads)
        try:
            fitted = fitted_of(opened, self._encoder, self._query_encoder)
            served = ServedGeneration(opened, self._search_thread, fitted)
            served.searched_by(self._default(opened.name))
            return served
        except IndexingError as error:  # its changes, or a disk that fails as it is searched for the first time
            opened.close()
            raise LoadError(f"Generation {path.name} was refused: {error}") from error
        except BaseException:
            opened.close()
            raise

    def _default(self, name: str) -> DefaultSearch | None:
        """What a search of an index is that says nothing; none where the file is damaged, which is logged."""
        try:
            return read_default(self.root, name)
        except IndexingError as error:
            log.error("searches of %s have no default: %s", name, error)
            return None

    def _path(self, name: str, generation: str | None = None) -> Path:
        """Its folder; of the one the alias points to, the manifest is still the one that was
        switched to."""
        try:
            return self.root.path(name, generation)
        except IndexingError as error:
            raise LoadError(str(error)) from error

    def _alias(self, name: str) -> Alias:
        try:
            return self.root.alias(name)
        except IndexingError as error:
            raise LoadError(str(error), "internal") from error


def _changed(name: str, alias: Alias) -> Problem:
    return Problem(
        "precondition-failed",
        f"Alias {name} is at {alias.generation} with etag {alias.etag}, which is not that of If-Match; "
        "look and decide again.",
        generation=alias.generation,
        etag=alias.etag,
    )
