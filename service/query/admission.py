"""How many requests are worked on at once, how many may wait, and until when each is worth answering.

A request gets a place or waits for one. Its deadline runs from the moment its body was read; passing it is a 504, no
matter whether the time went into waiting, encoding or searching. An answer that is too late is never sent: the caller
has given up on it, and a server that always says so is easier to reason about.

The waiting line is bounded twice. Its length is bounded, and so is its time: a request that would be answered only
after its deadline, at the recent rate of answers, is refused at once. Waiting in vain would cost its caller the time
and everyone behind it the place. Both refusals are 503, because the caller did nothing wrong; Retry-After is the time
that the line needs.

The rate is a count over a span of time and not a mean of intervals. Texts are encoded in batches, so answers come in
bursts, and after a burst of 32 the mean of the latest intervals would say that the line is gone in an instant.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TypeVar

from service.wire.problems import Problem

T = TypeVar("T")

REMEMBERED_S = 0.5  # by how long ago an answer was finished, it counts 1/e: dozens of batches, and soon forgotten


class Deadline:
    """A point in time, `time.perf_counter` based, and the milliseconds it was given as."""

    __slots__ = ("at_s", "start_s", "timeout_ms")

    def __init__(self, timeout_ms: float, start_s: float) -> None:
        self.timeout_ms = timeout_ms
        self.start_s = start_s
        self.at_s = start_s + timeout_ms / 1000

    def left_s(self) -> float:
        return self.at_s - time.perf_counter()

    def check(self) -> None:
        if time.perf_counter() > self.at_s:
            raise self.problem()

    async def limit(self, work: Awaitable[T]) -> T:
        """Awaits `work`, cancelling it and raising the Problem when the deadline passes first.

        It is not `asyncio.timeout`, which needs a task around it: the fast path runs a search by hand until it waits
        for the first time, and this may be where.
        """
        future = asyncio.ensure_future(work)
        if future.done():
            return future.result()
        passed = False

        def pass_() -> None:
            nonlocal passed
            passed = True
            future.cancel()

        timer = asyncio.get_running_loop().call_later(max(0.0, self.left_s()), pass_)
        try:
            return await future
        except asyncio.CancelledError:
            if passed:
                raise self.problem() from None
            future.cancel()
            raise
        finally:
            timer.cancel()

    def problem(self) -> Problem:
        return Problem(
            "deadline-exceeded",
            f"The answer was not ready within {self.timeout_ms:g} ms; ask for more time with "
            "timeout_ms, or for less work.",
            timeout_ms=self.timeout_ms,
        )


class Admission:
    """Places for `concurrency` requests and a line of `queue`; belongs to one event loop.

    A place is handed from who leaves to who is first in line, without being free in between: under an overload every
    request that is answered has waited here, and tasks, events and rounds of the loop would come off what is answered.
    """

    def __init__(self, concurrency: int, queue: int, count_shed: Callable[[], None]) -> None:
        self.queue = queue
        self.working = 0  # places that are taken
        self.waiting = 0
        self._concurrency = concurrency
        self._line: deque[asyncio.Future[None]] = deque()  # who gave up stays in it, done, until it is their turn
        self._count_shed = count_shed
        self._busy = Rate(REMEMBERED_S)

    def place(self, deadline: Deadline) -> Place:
        """To be held (`async with`) while a request is worked on; raises Problem overloaded when none will come free in
        time, and deadline-exceeded when none did."""
        return Place(self, deadline)

    @property
    def taken(self) -> bool:
        """Whether all places are."""
        return self.working >= self._concurrency

    @property
    def full(self) -> bool:
        """Whether any request that comes now is refused; the fast path then does not even read it."""
        return self.working >= self._concurrency and self.waiting >= self.queue

    def wait_s(self) -> float:
        """How long a request that came now would take to be answered: everybody who is in comes first."""
        return (self.working + self.waiting + 1) * self._busy.interval_s if self.taken else 0.0

    def retry_after_s(self) -> int:
        return max(1, math.ceil(self.wait_s()))

    def overloaded(self, waiting: int) -> Problem:
        """Counted."""
        self._count_shed()
        return self.problem(waiting, self.retry_after_s())

    def problem(self, waiting: int, retry_after_s: int) -> Problem:
        return Problem(
            "overloaded",
            f"{waiting} requests wait for their turn already; ask again later, or ask another server.",
            headers={"retry-after": str(retry_after_s)},
        )

    async def turn(self, deadline: Deadline) -> None:
        """Waits in line, and has a place when it returns; raises Problem deadline-exceeded when it is too late."""
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        self._line.append(turn)
        self.waiting += 1
        timer = loop.call_later(max(0.0, deadline.left_s()), self._too_late, turn, deadline)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self.waiting -= 1
            elif turn.exception() is None:  # it was handed a place, which nobody wants any more
                self.leave()
            raise
        finally:
            timer.cancel()

    def _too_late(self, turn: asyncio.Future[None], deadline: Deadline) -> None:
        if not turn.done():
            self.waiting -= 1
            turn.set_exception(deadline.problem())

    def leave(self) -> None:
        """Gives a place to who is first in line."""
        line = self._line
        while line:
            turn = line.popleft()
            if not turn.done():
                self.waiting -= 1
                self._busy.note(time.perf_counter())
                turn.set_result(None)
                return
        self.working -= 1
        self._busy.pause()


class Rate:
    """How often something happens while it is looked at, the last `remembered_s` before all else."""

    def __init__(self, remembered_s: float) -> None:
        self._remembered_s = remembered_s
        self._count = self._span_s = 0.0
        self._latest_s: float | None = None

    @property
    def interval_s(self) -> float:
        """Between two, on average; 0 before there were any."""
        return self._span_s / self._count if self._count else 0.0

    def note(self, now_s: float) -> None:
        """It has happened. The first after a pause only starts the clock."""
        if self._latest_s is not None:
            span_s = now_s - self._latest_s
            kept = math.exp(-span_s / self._remembered_s)
            self._count = self._count * kept + 1
            self._span_s = self._span_s * kept + span_s
        self._latest_s = now_s

    def pause(self) -> None:
        """What comes next says nothing about how often it could have come."""
        self._latest_s = None


class Place:
    """A class and not a generator: entering and leaving a generator costs more than counting."""

    __slots__ = ("_admission", "_deadline")

    def __init__(self, admission: Admission, deadline: Deadline) -> None:
        self._admission = admission
        self._deadline = deadline

    async def __aenter__(self) -> None:
        admission = self._admission
        if admission.taken:
            if admission.full or admission.wait_s() > self._deadline.left_s():
                raise admission.overloaded(admission.waiting)
            await admission.turn(self._deadline)
        else:
            self._deadline.check()  # it may have waited in the fast path
            admission.working += 1

    async def __aexit__(self, *_: object) -> None:
        self._admission.leave()
