"""Rebuilds that the service starts by itself: when enough was written, or at a time of day."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Protocol

from service.rebuilds.plan import CHANGES, Trigger
from service.rebuilds.starting import Rebuilds
from service.wire.problems import Problem

log = logging.getLogger("perwatt.service")

AGAIN = timedelta(hours=1)  # before a rebuild that failed is tried once more


class Written(Protocol):
    """What is known of the indexes that are served."""

    def written(self, index: str) -> tuple[int, int]:
        """Documents that were written since the served generation, and those that it has; (0, 0) where none is."""

    def folded(self, index: str) -> bool:
        """Whether the served generation holds every change; False where none is served."""


class Due:
    """Starts rebuilds that are due; `look` is called once a minute, in one worker of a service."""

    def __init__(
        self, rebuilds: Rebuilds, indexes: Written, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._rebuilds, self._indexes, self._now = rebuilds, indexes, now
        self._looked_at = now()
        self._owed: dict[tuple[str, str], str] = {}  # by index and source: a time that passed without a rebuild yet

    def look(self) -> None:
        now = self._now()
        for trigger in self._rebuilds.plan.triggers:
            if trigger.at_minute is not None and self._passed(trigger.at_minute, now):
                self._owed[trigger.index, trigger.source] = f"{trigger.at} UTC has passed"
            reason = self._reason(trigger)
            if reason is not None and not self._failed_lately(trigger, now):
                self._start(trigger, reason)
        self._looked_at = now

    def _start(self, trigger: Trigger, reason: str) -> None:
        try:
            if trigger.source != CHANGES or not self._indexes.folded(trigger.index):
                self._rebuilds.start(trigger.index, trigger.source, trigger=True)
                log.info("%s is rebuilt: %s", trigger.index, reason)
        except Problem as problem:
            if problem.code == "rebuild-running":
                return  # its turn comes
            log.error("%s is due for a rebuild (%s): %s", trigger.index, reason, problem.detail)
        self._owed.pop((trigger.index, trigger.source), None)

    def _reason(self, trigger: Trigger) -> str | None:
        written, count = self._indexes.written(trigger.index)
        if trigger.changes is not None and written >= trigger.changes:
            return f"{written:,} documents were written"
        if trigger.share is not None and written and written >= trigger.share * count:
            return f"{written:,} documents were written to {count:,}"
        return None if trigger.at is None else self._owed.get((trigger.index, trigger.source))

    def _passed(self, minute: int, now: datetime) -> bool:
        """Whether this time of day came since the last look; after a clock was set back, it comes again."""
        today = now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(minutes=minute)
        return any(self._looked_at < at <= now for at in (today - timedelta(days=1), today))

    def _failed_lately(self, trigger: Trigger, now: datetime) -> bool:
        for record in self._rebuilds.records.all():
            answer = record.answer
            if record.trigger and (answer.index, answer.source) == (trigger.index, trigger.source):
                ended = now if answer.ended_at is None else datetime.fromisoformat(answer.ended_at)
                return answer.state == "failed" and abs(now - ended) < AGAIN  # also where the clock was set back
        return False
