"""The requests of one search to all shards, and who waits for them; with one timer of the loop for all searches.

A search that waits costs a task, a future and a timer, and the loop a turn to wake it up: together as much as a shard
needs to look for its hits. Here the answer that was missing resumes the search itself, and the timer is armed anew only
for a search that is due earlier than all others.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

LEAST_WAIT_S = 1e-3  # the loop's timers count milliseconds: one of less is due at once, again and again


class UnderWay(Protocol):
    """One of the requests.

    Args:
        due_s: `time.perf_counter` at which to look at it again, whatever has come by then.
    """

    due_s: float

    @property
    def answer(self) -> Any: ...
    def look(self, now_s: float) -> None: ...
    def cancel(self) -> None: ...


class Looks:
    """Looks at searches that wait when they are due. Belongs to one event loop."""

    def __init__(self) -> None:
        self._waiting: set[Together] = set()
        self._at_s = math.inf  # when the timer is due
        self._timer: asyncio.TimerHandle | None = None

    def add(self, together: Together) -> None:
        self._waiting.add(together)
        if together.due_s < self._at_s:
            self._arm(together.due_s)

    def remove(self, together: Together) -> None:
        """The timer stays as it is: arming it costs more than a look at nothing."""
        self._waiting.discard(together)

    def _arm(self, at_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        wait_s = max(LEAST_WAIT_S, at_s - time.perf_counter())
        self._at_s, self._timer = at_s, asyncio.get_running_loop().call_later(wait_s, self._look)

    def _look(self) -> None:
        now_s = time.perf_counter()
        self._at_s, self._timer = math.inf, None
        for each in tuple(self._waiting):
            if each.due_s <= now_s:
                each.look(now_s)
        if self._waiting:
            next_s = min(each.due_s for each in self._waiting)
            if next_s < self._at_s:  # else a search that has begun meanwhile has armed it
                self._arm(next_s)


class Turn(asyncio.Future[None]):
    """What a search waits for. Whoever runs its coroutine without a task sets `resume`, which is called in the moment
    in which the waiting ends."""

    resume: Callable[[], None] | None = None

    def end(self) -> None:
        if not self.done():
            self.set_result(None)
            resume, self.resume = self.resume, None
            if resume is not None:
                resume()


class Together:
    """Requests that are waited for at once."""

    __slots__ = ("_looks", "_missing", "_over", "_requests", "due_s")

    def __init__(self, looks: Looks) -> None:
        self.due_s = math.inf
        self._looks = looks
        self._requests: Sequence[UnderWay] = ()
        self._missing = 0
        self._over: Callable[[], None] | None = None

    async def wait(self, requests: Sequence[UnderWay]) -> None:
        """Until each of them has its answer. When it is cancelled, so are they."""
        turn = Turn()
        self.begin(requests, turn.end)
        try:
            await turn
        except BaseException:
            self.cancel()
            raise

    def begin(self, requests: Sequence[UnderWay], over: Callable[[], None]) -> None:
        """As `wait`, for who calls `cancel` where it has to be.

        Args:
            over: called when each of them has its answer.
        """
        waiting = [each for each in requests if each.answer is None]
        if not waiting:
            over()
            return
        self._requests, self._missing, self._over = waiting, len(waiting), over
        self.due_s = min([each.due_s for each in waiting])
        self._looks.add(self)

    def cancel(self) -> None:
        """Nobody waits any more."""
        for each in self._leave():
            each.cancel()

    def ended(self) -> None:
        """One of them has its answer."""
        if not self._missing:  # nobody waits yet
            return
        self._missing -= 1
        if not self._missing:
            over = self._over
            self._leave()
            assert over is not None  # `begin` has set it
            over()

    def look(self, now_s: float) -> None:
        """At `due_s`."""
        for each in self._requests:
            if each.answer is None and now_s >= each.due_s:
                each.look(now_s)
        self.due_s = min((each.due_s for each in self._requests if each.answer is None), default=math.inf)

    def _leave(self) -> Sequence[UnderWay]:
        """Forgets the requests, which know this object."""
        requests, self._requests, self._missing, self._over = self._requests, (), 0, None
        self._looks.remove(self)
        return requests
