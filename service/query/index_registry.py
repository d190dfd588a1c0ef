"""The indexes that are served: each name with the one generation that answers for it, and how that is replaced.

A new generation is opened, verified and warmed beside the old one, on another thread, while requests run. Only when it
has passed every check does the name point to it, and only then does an admin call write the alias on disk. A generation
that fails changes nothing: the old one keeps answering, and the reason is in the log, in `/readyz` and in the answer to
the caller who asked for the switch.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Collection, Iterable
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
        for candidate in self._by_name.values():
            if candidate.id == index:
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

    def all(self) -> dict[str, ServedGeneration]:
        return dict(self._by_name)

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
        for loaded in self._by_name.values():
            loaded.retire()

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
                new = await asyncio.to_thread(self._load, path)
        except LoadError as error:
            if path is not None or generation is None:  # else an admin has mistyped: nothing is wrong here
                self.failures[name] = str(error)
                log.error("%s stays at %s: %s", name, old.id, error)
            raise
        try:
            await asyncio.to_thread(write)
        except BaseException:
            if new is not old:
                new.retire()
            raise
        self.failures.pop(name, None)
        if new is old:
            old.searched_by(default)
        else:
            self._by_name[name] = new
            old.retire()
            log.info("%s switched from %s to %s", name, old.id, new.id)
        return new

    def _load(self, path: Path) -> ServedGeneration:
        opened = open_checked(path, self._encoder, self._threads)
        try:
            fitted = fitted_of(opened, self._encoder, self._query_encoder)
            served = ServedGeneration(opened, self._search_thread, fitted)
            served.searched_by(self._default(opened.name))
            return served
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
