"""Follows aliases that others change on disk: a rebuild in another container, `perwatt switch`, a pull.

Reading an alias is one small file a second. What it names is loaded beside the generation that answers, as on SIGHUP;
one that is refused changes nothing and is tried again only when the alias changes, or after a while.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from index import IndexingError
from service.query.index_registry import IndexRegistry

log = logging.getLogger("perwatt.service")

AGAIN_S = 300.0  # until what was refused is tried once more: a shared volume may show an alias before its files


class Aliases:
    """`look` on the event loop, as often as one likes."""

    def __init__(self, registry: IndexRegistry, now_s: Callable[[], float] = time.monotonic) -> None:
        self._registry, self._now_s = registry, now_s
        self._tried: dict[str, tuple[str, float]] = {}  # name → what its alias said when it was last followed, and when
        self._looking = False

    async def look(self) -> None:
        """Follows what changed; does nothing while an earlier look still loads."""
        if self._looking:
            return
        self._looking = True
        try:
            for name in await asyncio.to_thread(self._changed):
                log.info("the alias of %s on disk changed: following it", name)
                await self._registry.follow(name)
        finally:
            self._looking = False

    def _changed(self) -> list[str]:
        found = []
        for name, served in self._registry.all().items():
            try:
                alias = self._registry.root.alias(name)
                said, differs = alias.etag, alias.generation != served.id
            except IndexingError as error:
                said, differs = str(error), True
            if not differs and name not in self._registry.failures:
                self._tried.pop(name, None)
                continue
            before, at_s = self._tried.get(name, ("", 0.0))
            if said != before or self._now_s() - at_s >= AGAIN_S:
                self._tried[name] = said, self._now_s()
                found.append(name)
        return found
